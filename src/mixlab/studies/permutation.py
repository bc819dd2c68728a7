"""Does a network need the order of the patches and pixels of an image?

Every model is trained from scratch on five inputs: original images, and images with a fixed permutation of the patches,
of the pixels within every patch, of both, and of all pixels. A permutation is applied to every image, in training and
test, after augmentation; each seed draws its own. All models have the same grid of patches, and equal steps.
A drop is relative to the accuracy above chance. Which permutations the weights of a model can undo is shown by training
from matched initial weights in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mixlab.data.dataset import Dataset
from mixlab.data.decoding import shown_image
from mixlab.data.transforms import Name, Transform
from mixlab.errors import UserError
from mixlab.report.axes import Axis
from mixlab.report.grouped_plot import grouped_plot
from mixlab.report.table import Cell, Column, Table
from mixlab.studies.answers import correct_of
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult, Quantity, relative_drop
from mixlab.studies.from_scratch import chance, from_scratch
from mixlab.studies.grids import require_distinct
from mixlab.studies.permutation_claims import BOTH, INPUTS, ORIGINAL, arm_name, claims, drop_name, unadapted_name
from mixlab.studies.symmetry import EXACT, Symmetry, growth_steps, patch_size_of, symmetries
from mixlab.training.job import Job
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.load import load_pretrained
from mixlab.zoo.architecture import architecture, family_of

COST = "115 trainings of 25 epochs on 10,000 images"

DEFAULT_MODELS = (
    "mixer_nano",
    "convmixer_nano",
    "davit_nano",
    "resnet_nano",
    "vit_nano_learned",
    "vit_nano",
    "vit_nano_no_positions",
)

_CHANGES: dict[str, Name] = {
    INPUTS[1]: "permute_patches",
    INPUTS[2]: "permute_pixels_in_patches",
    BOTH: "permute_patches_and_pixels",
    INPUTS[4]: "permute_all_pixels",
}


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    models: tuple[str, ...] = field(
        default=DEFAULT_MODELS,
        metadata={"help": "Comma-separated models: sizes, timm:NAME, variant:NAME, py:FILE:NAME."},
    )
    seeds: int = field(default=3, metadata={"help": "Trainings of each model on each input.", "min": 2})
    equality_seeds: int = field(
        default=8, metadata={"help": "Trainings of the first Mixer on original and on both permuted.", "min": 2}
    )
    epochs: int = field(default=25, metadata={"help": "Epochs of each training.", "min": 1})
    images: int = field(default=10_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    image_size: int = field(default=32, metadata={"help": "Pixels of a side, for all models.", "min": 1})
    patch_size: int = field(default=4, metadata={"help": "Pixels of a side of the permuted patches.", "min": 2})
    exact_steps: int = field(
        default=100, metadata={"help": "Steps in float64 from matched initial weights; 0: none.", "min": 0}
    )


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """A model and an input for each arm. Raises UserError if the images or a model do not have the grid of patches."""
    _require_models(settings)
    _require_pixels(dataset, settings)
    mixer = next((name for name in settings.models if family_of(name) == "mixer"), None)
    return {
        arm_name(model, kind): [
            _recipe(dataset, settings, model, kind, seed) for seed in range(_seeds(settings, model, kind, mixer))
        ]
        for model in settings.models
        for kind in INPUTS
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """Drops, the accuracy without retraining, symmetries and findings."""
    by_chance = chance(trained.dataset)
    quantities: list[Quantity] = []
    for model in settings.models:
        original = trained.arm(arm_name(model, ORIGINAL))
        for kind in INPUTS[1:]:
            changed = trained.arm(arm_name(model, kind))
            quantities.append(relative_drop(drop_name(model, kind), original, changed, by_chance))
        quantities.append(_unadapted(trained, model, settings))
    found = {model: _symmetries(trained, model, settings) for model in settings.models} if settings.exact_steps else {}
    top1 = {model: {kind: trained.arm(arm_name(model, kind)).top1 for kind in INPUTS} for model in settings.models}
    figure = grouped_plot(
        "Accuracy by input",
        top1,
        Axis("Top-1", "%", "higher", digits=1),
        names=list(dict.fromkeys([*DEFAULT_MODELS, *settings.models])),
        line=("chance", by_chance),
        caption="Each model was trained and tested on each input. Points are means over seeds, lines 95 % intervals.",
    )
    return trained.result(
        title="Does a network need the order of the patches and pixels of an image?",
        command="mixlab study permutation",
        settings=settings,
        claims=claims(settings.models),
        quantities=tuple(quantities),
        own_tables=(
            _drops_table(settings.models, quantities),
            *([_symmetry_table(found), _growth_table(found)] if found else []),
        ),
        own_figures=(figure,),
        notes=(f"Chance is {by_chance:.1f} %: the most frequent class of the test images.",),
    )


def _seeds(settings: Settings, model: str, kind: str, mixer: str | None) -> int:
    return (
        max(settings.seeds, settings.equality_seeds) if model == mixer and kind in (ORIGINAL, BOTH) else settings.seeds
    )


def _recipe(dataset: Dataset, settings: Settings, model: str, kind: str, seed: int) -> Recipe:
    return from_scratch(
        model,
        dataset,
        settings,
        seed,
        transform=None if kind == ORIGINAL else _transform(kind, settings, seed).to_dict(),
    )


def _transform(kind: str, settings: Settings, seed: int) -> Transform:
    name = _CHANGES[kind]
    return Transform(name, seed, None if name == "permute_all_pixels" else settings.patch_size)


def _unadapted(trained: TrainedArms, model: str, settings: Settings) -> Quantity:
    """The accuracy of the model that was trained on original images, for permuted test images."""
    scores = []
    for seed, run in enumerate(trained.runs[arm_name(model, ORIGINAL)]):
        pretrained = load_pretrained(run.path)
        permuted = replace(pretrained.preprocess, transform=_transform(BOTH, settings, seed))
        scores.append(100 * float(correct_of(replace(pretrained, preprocess=permuted), trained.dataset).mean()))
    return Quantity(unadapted_name(model), tuple(scores), "%", least=0, most=100)


def _symmetries(trained: TrainedArms, model: str, settings: Settings) -> dict[str, Symmetry]:
    job = trained.trainings[arm_name(model, ORIGINAL)][0].job
    assert isinstance(job, Job)
    trained.log(f"{model}: {settings.exact_steps} steps in float64 from matched initial weights.")
    transforms = {kind: _transform(kind, settings, 0) for kind in INPUTS[1:]}
    return symmetries(job, transforms, steps=settings.exact_steps)


def _drops_table(models: Sequence[str], quantities: Sequence[Quantity]) -> Table:
    by_name = {quantity.name: quantity.estimate for quantity in quantities}
    rows: list[dict[str, Cell]] = [
        {"model": model, **{kind: by_name[drop_name(model, kind)] for kind in INPUTS[1:]}} for model in models
    ]
    columns = [Column("model", "model")]
    columns += [Column(kind, kind, "%", digits=1, uncertainty="interval") for kind in INPUTS[1:]]
    note = "The loss of accuracy in per cent of the accuracy above chance on original images, with 95 % intervals."
    return Table("Relative drops", columns, rows, [note], models=models)


def _symmetry_table(found: dict[str, dict[str, Symmetry]]) -> Table:
    """Model x transform: what the weights can undo."""
    rows: list[dict[str, Cell]] = [
        {"model": model, **{kind: symmetry.kind for kind, symmetry in by_kind.items()}}
        for model, by_kind in found.items()
    ]
    notes = [
        "invariant: the logits do not change with the same weights.",
        "exact: a training from permuted initial weights is equal at every step. From independent initial weights, as "
        "in this study, results are equal in distribution.",
        "broken: no permutation of the weights over pixels, cells of kernels and patches undoes the transform, because "
        "the logits change even if all of these have equal weights.",
        "unknown: no permutation that undoes the transform was found, and none was ruled out.",
    ]
    columns = [Column("model", "model"), *(Column(kind, kind) for kind in INPUTS[1:])]
    return Table("Symmetries", columns, rows, notes, models=list(found))


def _growth_table(found: dict[str, dict[str, Symmetry]]) -> Table:
    """The differences of the logits from matched weights by step."""
    steps = sorted({step for by_kind in found.values() for one in by_kind.values() for step in growth_steps(one)})
    rows: list[dict[str, Cell]] = [
        {
            "model": model,
            "input": kind,
            "same": f"{symmetry.same_weights:.1e}",
            **({} if symmetry.tied_weights is None else {"tied": f"{symmetry.tied_weights:.1e}"}),
            **{f"step_{step}": f"{symmetry.matched[step]:.1e}" for step in steps if step in symmetry.matched},
        }
        for model, by_kind in found.items()
        for kind, symmetry in by_kind.items()
    ]
    columns = [Column("model", "model"), Column("input", "input")]
    columns += [Column("same", "same weights"), Column("tied", "tied weights")]
    columns += [Column(f"step_{step}", f"step {step}") for step in steps]
    notes = [
        "The largest difference of a logit in float64 between images and permuted images: with the same weights, and "
        "after steps of AdamW in a plain loop from matched weights.",
        "tied weights: equal for all pixels, cells of kernels and patches; in multiples of the largest logit.",
        f"From matched weights, the differences are rounding errors: below {EXACT:.0e} at every step of an exact "
        "symmetry.",
    ]
    return Table("Differences of logits", columns, rows, notes, models=list(found))


def _require_models(settings: Settings) -> None:
    """Raises UserError if models repeat, or have another grid of patches than the permutation."""
    size, patch = settings.image_size, settings.patch_size
    if size % patch:
        raise UserError(
            f"--image-size {size} is not a multiple of --patch-size {patch}: give a multiple, such as "
            f"{size // patch * patch or patch}."
        )
    require_distinct("--models", settings.models)
    for name in settings.models:
        of_model = patch_size_of(architecture(name, image_size=size).on_meta())
        if of_model not in (None, patch):
            raise UserError(
                f"{name} has patches of {of_model} pixels, but the permuted patches have {patch}: give --patch-size "
                f"{of_model}, or a model with patches of {patch} pixels, so that all models have the same grid."
            )


def _require_pixels(dataset: Dataset, settings: Settings) -> None:
    """Raises UserError if images are so small that a patch has a single pixel of the source."""
    side = min(shown_image(dataset.splits["train"], 0).shape[:2])
    if settings.patch_size * side < 2 * settings.image_size:
        raise UserError(
            f"{dataset.name} has images of {side} pixels: at --image-size {settings.image_size}, a patch of "
            f"{settings.patch_size} pixels has a single pixel of the source, so that permuting the pixels within "
            f"patches has no effect. Give images of at least {-(-2 * settings.image_size // settings.patch_size)} "
            "pixels, such as cifar10."
        )
