"""A pilot of a study: how many repetitions each claim needs, from the spread over a few trainings without test images.

Every training leaves out a fold of the training images of its classes, and is evaluated on this fold in place of the
test images. One that leaves out a fold already, to choose something on it, keeps that fold. Nothing is concluded from
the observed means: only the spread of each claim's contrast is used.
"""

from collections.abc import Sequence

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.sample_size import repeats_needed, spread_factors
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.left_out import fold_as_test, left_out_as_test
from mixlab.studies.result import Finding, contrast_text, first_level, repetitions_text
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.schema import Recipe, Subset

FOLDS = 5
"""The first of these folds is left out."""

DIFFERENCE = 1.0
"""The true difference that a claim about a direction is planned for, in the unit of the claim."""

_WITHOUT_PILOT = 'leave --pilot out, and read "n to decide" in the result of a run with few repetitions.'


def pilot_arms(arms: Arms, dataset: Dataset) -> Arms:
    """The arms with recipes that leave a fold out.

    Raises UserError if the samples can't be divided by class, or if one of the trainings has other data.
    """
    if dataset.noun == "text" or dataset.splits["train"].labels.ndim != 1:
        raise UserError(
            f"--pilot leaves out images or sounds by their class, but {dataset.name} has texts, masks or several "
            f"labels: {_WITHOUT_PILOT}"
        )
    return {name: [_pilot(recipe, dataset) for recipe in recipes] for name, recipes in arms.items()}


def on_left_out_images(trained: TrainedArms) -> TrainedArms:
    """The trained arms of a pilot, which are evaluated on the folds that they left out."""
    dataset = fold_as_test(trained.dataset.merge_validation(), FOLDS, 0)
    return _PilotArms(dataset, trained.datasets, trained.trainings, trained.runs, trained.log)


class _PilotArms(TrainedArms):
    """Trained arms whose test images are training images that were left out."""

    def data(self, name: str, repetition: int) -> Dataset:
        return left_out_as_test(super().data(name, repetition), self.trainings[name][repetition].job.recipe)


def repetitions_table(findings: Sequence[Finding]) -> Table:
    """The spread of the contrast of each claim, and the repetitions that it needs."""
    rows: list[dict[str, Cell]] = [
        {
            "statement": finding.claim.statement,
            "spread": finding.difference and finding.difference.spread,
            "unit": finding.claim.unit,
            "distance": finding.claim.margin if finding.claim.expected == "equal" else DIFFERENCE,
            "repetitions": _repetitions(finding, len(findings)),
            "contrast": contrast_text(finding.claim.contrast),
        }
        for finding in findings
    ]
    columns = [
        Column("statement", "claim"),
        Column("spread", "spread", digits=2),
        Column("distance", "margin or difference"),
        Column("unit", "unit"),
        Column("repetitions", "repetitions"),
        Column("contrast", "contrast"),
    ]
    notes = [
        "Spread: the standard deviation of the contrast over repetitions. Every training was evaluated on training "
        "images that it left out. No test image was used.",
        *map(_precision, sorted({finding.difference.n for finding in findings if finding.difference is not None})),
        "Repetitions: those with which the test of the claim succeeds with a probability of 80 %, at the strictest "
        "level of Holm's method: for a claim of equality, if the true difference is 0; for one of a direction, if it "
        f"is {DIFFERENCE:g}.",
    ]
    return Table("Pilot", columns, rows, notes)


def _precision(repeats: int) -> str:
    low, high = spread_factors(repeats)
    return f"With {repeats} repetitions, the true spread is {low:.1f} to {high:.1f} times the observed one (95 %)."


def _repetitions(finding: Finding, claims: int) -> str | None:
    if finding.difference is None or not finding.difference.spread:
        return None
    equal = finding.claim.expected == "equal"
    needed = repeats_needed(
        0.0 if equal else DIFFERENCE,
        finding.difference.spread,
        level=first_level(finding.claim, claims),
        margin=finding.claim.margin if equal else None,
    )
    return repetitions_text(needed)


def _pilot(recipe: Recipe | LinearProbeRecipe, dataset: Dataset) -> Recipe | LinearProbeRecipe:
    if recipe.data != dataset.name:
        raise UserError(
            f"--pilot evaluates on training {dataset.noun}s of {dataset.name}, but trainings of this study are "
            f"evaluated on other data, such as {recipe.data}: {_WITHOUT_PILOT}"
        )
    given = recipe.subset or Subset()
    if given.folds is not None:
        return recipe
    return recipe.model_copy(update={"subset": given.model_copy(update={"folds": FOLDS, "left_out_fold": 0})})
