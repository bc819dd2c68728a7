"""Comparison of models for texts with one class, beside logistic regression on bags of words."""

from typing import TYPE_CHECKING

from mixlab.comparison.tasks.classification import summed_confusion
from mixlab.comparison.tasks.compared_task import ComparedTask
from mixlab.comparison.trainings import classify
from mixlab.data.dataset import Dataset
from mixlab.evaluation.bag_of_words import contents, fit_bag_of_words
from mixlab.evaluation.baselines import majority_accuracy
from mixlab.evaluation.confident_errors import confident_wrong
from mixlab.report.confusion import confusion_matrix
from mixlab.report.page import Section
from mixlab.report.table import Cell, Column, Table
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import proportion_interval
from mixlab.tasks.text import TEXT

if TYPE_CHECKING:
    from mixlab.comparison.comparison import Comparison


def text_baselines(dataset: Dataset) -> dict[str, Estimate]:
    """The accuracy in per cent of the majority class and of logistic regression on bags of words.

    The strength of its regularisation is chosen on the validation texts; it is then fitted to these as well.
    """
    train, test = dataset.merge_validation().splits["train"], dataset.splits["test"]
    correct = fit_bag_of_words(dataset).fitted_to(train).correct(test)
    return {
        "majority class": majority_accuracy(train.labels, test.labels),
        "bag of words": proportion_interval(int(correct.sum()), len(test)),
    }


def errors(comparison: "Comparison") -> Section:
    """The confusion matrix over all seeds, and the most confident errors with the first seed."""
    chosen, split = comparison.chosen, comparison.dataset.splits["test"]
    evaluation, texts = chosen.trained[0].evaluation, contents(split)
    matrix = confusion_matrix(
        "Confusion matrix",
        summed_confusion(chosen),
        evaluation.classes,
        trainings=comparison.settings.seeds,
        caption=f"Predictions of {comparison.seeds}, summed, on {comparison.test_samples}.",
    )
    wrong = int((~evaluation.correct).sum())
    rows: list[dict[str, Cell]] = [
        {
            "text": texts[index],
            "true": evaluation.classes[evaluation.labels[index]],
            "predicted": evaluation.classes[evaluation.predictions[index]],
            "probability": float(evaluation.confidences[index]),
        }
        for index in confident_wrong(evaluation)
    ]
    columns = [
        Column("text", "text"),
        Column("true", "true class"),
        Column("predicted", "predicted class"),
        Column("probability", "probability", digits=2),
    ]
    shown = "all of them" if len(rows) == wrong else f"the {len(rows)} most confident"
    note = f"With the first seed, {wrong} of {comparison.test_samples} are wrong; {shown}."
    return Section(f"Errors of {chosen.name}", [matrix, Table("Most confident errors", columns, rows, [note])])


TEXTS = ComparedTask(
    task=TEXT,
    models=("variant:text_mixer", "variant:text_transformer"),
    baselines=text_baselines,
    baseline_advice="take it, or train longer before you choose a network",
    answers=classify,
    metric=None,
    settings_note="All models have the settings of the recipe texts: the learning rate was chosen on the validation "
    "texts of TREC, the others were not tuned.",
    errors=errors,
)
