"""Does a training with a published recipe reach its published accuracy?

The recipe is trained once for each seed, on all training images, and the weights of the last step are evaluated on the
test images. Where mixlab would hold out validation images to select weights, they are training images.
"""

from dataclasses import dataclass, field

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.report.axes import Axis
from mixlab.report.forest_plot import dot_plot
from mixlab.stats.estimate import Estimate
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult, Quantity
from mixlab.studies.result import Claim
from mixlab.training.job import Job
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.recipe_files import read_recipe
from mixlab.training.recipes.schema import Expected

COST = "3 trainings of 25 epochs of ConvMixer-256/8 on 50,000 images"

DIFFERENCE = "measured − published"


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    recipe: str = field(
        default="convmixer_256_8_cifar10_25_epochs",
        metadata={"help": "Name from `mixlab recipes`, or a TOML file, with the published accuracy in [expected]."},
    )
    seeds: int = field(default=3, metadata={"help": "Trainings.", "min": 2})
    margin: float = field(
        default=1.0, metadata={"help": "Points: a smaller difference is irrelevant in practice.", "min": 0.1}
    )


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """One arm, the recipe. Raises UserError if it has no published accuracy, or if that is one on other data."""
    fields = read_recipe(settings.recipe)
    published_on, given = (name.partition(":")[0] for name in (str(fields.get("data")), dataset.name))
    if published_on != given:
        raise UserError(
            f"--recipe {settings.recipe} is for {published_on}, and its accuracy can't be compared with one on "
            f"{given}: give --data {published_on}, or another recipe."
        )
    recipe = parse_training_recipe(fields | {"data": dataset.name, "validation": "merged"}, settings.recipe)
    if recipe.expected is None:
        raise UserError(
            f"--recipe {settings.recipe} has no published accuracy: add a section [expected] with top1, by and on, or "
            "give another recipe."
        )
    return {settings.recipe: [recipe.model_copy(update={"seed": seed}) for seed in range(settings.seeds)]}


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """The accuracy, and its difference from the published one."""
    arm, job = trained.arm(settings.recipe), trained.trainings[settings.recipe][0].job
    assert isinstance(job, Job) and job.recipe.expected is not None  # of `arms`
    published = job.recipe.expected
    difference = Quantity(
        DIFFERENCE,
        tuple(score - published.top1 for score in arm.scores),
        least=-published.top1,
        most=100 - published.top1,
    )
    claim = Claim(
        statement=f"The training is as accurate as the published one, {published.top1:g} %.",
        contrast=(DIFFERENCE,),
        expected="equal",
        source=published.by,
        regime=_regime(published),
        margin=settings.margin,
    )
    figure = dot_plot(
        "Top-1 of each training",
        {arm.name: arm.scores},
        {arm.name: arm.top1},
        Axis("top-1", "%", "higher", digits=1),
        models=[arm.name],
        baselines={"published": Estimate.exact(published.top1, "%")},
        caption="Small markers are seeds, the large one their mean, the line its 95 % interval over seeds.",
    )
    return trained.result(
        title="Does a training with a published recipe reach its published accuracy?",
        command="mixlab study reproduction",
        settings=settings,
        claims=(claim,),
        quantities=(difference,),
        own_figures=(figure,),
        notes=(f"The published accuracy is {published.top1:g} % on {published.on}.",),
    )


def _regime(published: Expected) -> str:
    """What the published accuracy is, whose own spread is not part of the interval of the difference."""
    trainings = "a training" if published.n is None else f"the mean of {published.n} trainings"
    spread = "" if published.spread is None else f" with a spread of {published.spread:g} points"
    device = "" if published.device is None else f" on {published.device}"
    return f"the source has {trainings}{spread}{device}; the interval is that of the trainings of mixlab only"
