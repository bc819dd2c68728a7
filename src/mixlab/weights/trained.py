"""The model of a finished run."""

from safetensors import SafetensorError
from safetensors.torch import load_file

from mixlab.errors import UserError
from mixlab.runs.folder import Run
from mixlab.weights.strict import load_strictly
from mixlab.zoo.build import Model, build


def load_trained(run: Run) -> Model:
    """With the weights that the run kept, in evaluation mode, on the CPU and in fp32."""
    model = build(run.config["family"], run.config["config"])
    try:
        weights = load_file(run.weights)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{run.weights} is broken ({error}): train again, or copy the run anew.") from error
    load_strictly(model, weights, run.weights)
    return model.eval()
