"""The report of a judgement: the answer first, then every class, what is taken for what, and what ran."""

import tomli_w

from mixlab.evaluation.confident_errors import most_confident_errors
from mixlab.evaluation.run_evaluation import RunEvaluation
from mixlab.evaluation.run_evaluation_tables import TITLES, class_table, confusion_tables
from mixlab.report.confusion import confusion_matrix
from mixlab.report.image_grid import ErrorGallery
from mixlab.report.machine import machine_facts
from mixlab.report.page import Code, Columns, Details, KeyValues, Metric, Page, Section, Summary, written_by


def run_evaluation_page(run_evaluation: RunEvaluation) -> Page:
    return Page(
        title=run_evaluation.title,
        kicker=f"mixlab evaluate: {run_evaluation.run.path}",
        answer=_summary(run_evaluation),
        sections=[
            Section("What it recognises", [class_table(run_evaluation)]),
            _mistakes(run_evaluation),
            _run_details(run_evaluation),
        ],
        footer=written_by(run_evaluation.environment["versions"]["mixlab"]),
    )


def _summary(run_evaluation: RunEvaluation) -> Summary:
    return Summary(
        run_evaluation.answer,
        f"Judged: {run_evaluation.evaluated}, {run_evaluation.images}. "
        "Intervals are over images, for this one training.",
        [Metric(TITLES[measure], estimate, 1) for measure, estimate in run_evaluation.summary.items()],
    )


def _mistakes(run_evaluation: RunEvaluation) -> Section:
    evaluation = run_evaluation.evaluation
    matrix = confusion_matrix(
        "What is taken for what",
        evaluation.confusion,
        evaluation.classes,
        caption=f"Answers for {run_evaluation.images}.",
    )
    wrong = int((evaluation.predictions != evaluation.labels).sum())
    mistakes = most_confident_errors(run_evaluation.split, evaluation.classes, evaluation.probabilities)
    shown = "all of them" if len(mistakes) == wrong else f"the surest {len(mistakes)}"
    gallery = ErrorGallery(
        "Most confidently wrong",
        mistakes,
        f"{wrong:,} of {run_evaluation.images} are wrong; {shown}: the true class → the answer, and its probability.",
    )
    return Section("Where it errs", [Columns([matrix, gallery]), *confusion_tables(run_evaluation)])


def _run_details(run_evaluation: RunEvaluation) -> Section:
    dataset = run_evaluation.dataset
    facts = {
        "Run": str(run_evaluation.run.path),
        "Model": run_evaluation.run.config["model"],
        "Data": f"{dataset.name}: {run_evaluation.evaluated}, {run_evaluation.images}",
        "Precision": "fp32",
    } | machine_facts(run_evaluation.environment)
    recipe = Details("The recipe that it was trained with", [Code(tomli_w.dumps(run_evaluation.run.recipe))])
    return Section("What ran", [*dataset.notes, KeyValues(facts), recipe])
