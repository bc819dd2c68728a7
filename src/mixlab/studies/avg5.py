"""How well do frozen features serve the five datasets of Avg-5?

Avg-5 is the plain mean of top-1 on ImageNet, CIFAR-10, CIFAR-100, Oxford-IIIT Pets and Flowers-102 (Tolstikhin et al.
2021, section 3). A probe is fitted to the features of a model.
"""

from dataclasses import dataclass, field

from mixlab.report.progress import Log
from mixlab.studies.tasks import Task, TasksResult, run_tasks

COST = "5 probes of one model"

_NOTES = (
    "Published values of Avg-5 are of models that were fine-tuned on each dataset. Those of frozen features are lower, "
    "so compare them only with other values of frozen features.",
    "Of ImageNet, the first 65,000 training images are used.",
)

# big_vision's few-shot evaluation uses the first 65,000 training images of ImageNet too. Without a validation split in
# TFDS, a tenth of train is held out (1,000 of these images of ImageNet).
TASKS = (
    Task(
        name="ImageNet",
        source="imagenet2012",
        train="train[:64000]",
        validation="train[64000:65000]",
        test="validation",
    ),
    Task(name="CIFAR-10", source="cifar10", train="train[:45000]", validation="train[45000:]", test="test"),
    Task(name="CIFAR-100", source="cifar100", train="train[:45000]", validation="train[45000:]", test="test"),
    Task(name="Pets", source="oxford_iiit_pet", train="train[:90%]", validation="train[90%:]", test="test"),
    Task(name="Flowers-102", source="oxford_flowers102", train="train", validation="validation", test="test"),
)


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    model: str = field(metadata={"help": "Weights: a published name, timm:NAME.TAG, a run, a folder or a file."})
    probe: str = field(default="fewshot:10", metadata={"help": "fewshot:K, knn:K, ridge or logistic."})
    folder: str = field(
        default="", metadata={"help": "Folder of prepared datasets; default: $TFDS_DATA_DIR or ~/tensorflow_datasets."}
    )
    batch: int = field(default=32, metadata={"help": "Images per forward pass.", "min": 1})


def run(settings: Settings, *, quiet: bool, log: Log) -> TasksResult:
    """Evaluate the probe on every dataset that is there.

    Raises UserError if the weights can't be loaded, or no dataset can be evaluated.
    """
    return run_tasks(
        TASKS,
        settings,
        title="How well do frozen features serve the datasets of Avg-5?",
        command="mixlab study avg5",
        score="Avg-5",
        notes=_NOTES,
        quiet=quiet,
        log=log,
    )
