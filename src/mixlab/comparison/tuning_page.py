"""The section of the report about the tuning of the settings: the selected settings, and the effect of more trials."""

from collections.abc import Sequence

import tomli_w

from mixlab.comparison.tuning import FOLDS, Tuning
from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.page import Block, Code, Details, Section
from mixlab.report.table import Column, Table
from mixlab.report.time_series import SeriesPanel, time_series
from mixlab.training.recipes.search_space import SEARCH_SPACE


def tuning_sections(tunings: Sequence[Tuning]) -> list[Section]:
    """One section, or none without tuning."""
    if not tunings:
        return []
    blocks: list[Block] = [settings_table(tunings), _expected_best(tunings)]
    blocks += [
        Details(f"Recipe of {tuning.name}", [Code(tomli_w.dumps(tuning.tuned.candidate.job.recipe.to_dict()))])
        for tuning in tunings
    ]
    return [Section("Tuning", blocks)]


def settings_table(tunings: Sequence[Tuning]) -> Table:
    """The best settings of each model, with their score and the range of all scores."""
    columns = [
        Column("model", "model"),
        Column("top1", "best", "%", digits=2),
        Column("median", "median", "%", digits=2),
        Column("worst", "worst", "%", digits=2),
        Column("learning_rate", "learning rate", digits=5),
        Column("weight_decay", "weight decay", digits=3),
        Column("stochastic_depth", "stochastic depth", digits=3),
        Column("augmentation", "augmentation", digits=2),
    ]
    rows = [
        {
            "model": tuning.name,
            "top1": tuning.best.top1,
            "median": tuning.median,
            "worst": tuning.worst,
            "learning_rate": tuning.best.settings.learning_rate,
            "weight_decay": tuning.best.settings.weight_decay,
            "stochastic_depth": tuning.stochastic_depth,
            "augmentation": tuning.best.settings.augmentation,
        }
        for tuning in tunings
    ]
    noun = tunings[0].candidate.candidate.job.dataset.noun
    notes = [
        f"Best, median and worst: top-1 of the trials on the training {noun}s, each predicted by the training of the "
        f"{FOLDS} folds that did not contain it. The best is optimistic, because it was selected; the test {noun}s "
        "were not used.",
        f"All models have the same random trials from one search space: {SEARCH_SPACE}.",
    ]
    title = f"Settings: the best of {len(tunings[0].trials)} trials"
    return Table(title, columns, rows, notes, models=[tuning.name for tuning in tunings])


def _expected_best(tunings: Sequence[Tuning]) -> Figure:
    trials = list(range(1, len(tunings[0].trials) + 1))
    panel = SeriesPanel(
        Axis("Expected best top-1", "%", "higher", digits=1),
        {tuning.name: (trials, tuning.expected_best) for tuning in tunings},
    )
    return time_series(
        "Expected best accuracy by number of trials",
        [panel],
        x=Axis("Trials", digits=0),
        end=trials[-1],
        caption="The expected best score of so many random trials (Dodge et al. 2019). A curve that still rises at its "
        "end shows that more trials would improve the model.",
    )
