"""The model of a finished run."""

from safetensors import SafetensorError
from safetensors.torch import load_file

from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.zoo.build import Model, build


def load_trained(run: Run) -> Model:
    """With the weights that the run kept, in evaluation mode, on the CPU and in fp32."""
    model = build(run.config["family"], run.config["config"])
    try:
        model.load_state_dict(load_file(run.weights))
    except (SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{run.weights} is broken or of another model than config.json says ({str(error).splitlines()[0]}): "
            "train again, or copy the run anew."
        ) from error
    return model.eval()
