"""The report of `mixlab evaluate`: accuracy first, then every class, the errors, and the run details."""

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
        summary=_summary(run_evaluation),
        sections=[
            Section("Classes", [class_table(run_evaluation)]),
            _errors(run_evaluation),
            _run_details(run_evaluation),
        ],
        footer=written_by(run_evaluation.environment["versions"]["mixlab"]),
    )


def _summary(run_evaluation: RunEvaluation) -> Summary:
    return Summary(
        run_evaluation.conclusion,
        " ".join(
            [
                f"Evaluated on: {run_evaluation.evaluated}, {run_evaluation.images}.",
                *run_evaluation.unseen.notes,
                "Intervals are over images and do not cover other trainings.",
            ]
        ),
        [Metric(TITLES[measure], estimate, 1) for measure, estimate in run_evaluation.summary.items()],
    )


def _errors(run_evaluation: RunEvaluation) -> Section:
    evaluation = run_evaluation.evaluation
    matrix = confusion_matrix(
        "Confusion matrix",
        evaluation.confusion,
        evaluation.classes,
        caption=f"Predictions for {run_evaluation.images}.",
    )
    wrong = int((evaluation.predictions != evaluation.labels).sum())
    errors = most_confident_errors(run_evaluation.split, evaluation.classes, evaluation.probabilities)
    shown = "all of them" if len(errors) == wrong else f"the {len(errors)} most confident"
    gallery = ErrorGallery(
        "Most confident errors",
        errors,
        f"{wrong:,} of {run_evaluation.images} are wrong; {shown}: true class → predicted class, with its probability.",
    )
    return Section("Errors", [Columns([matrix, gallery]), *confusion_tables(run_evaluation)])


def _run_details(run_evaluation: RunEvaluation) -> Section:
    dataset = run_evaluation.dataset
    facts = {
        "Run": str(run_evaluation.run.path),
        "Model": run_evaluation.run.config["model"],
        "Data": f"{dataset.name}: {run_evaluation.evaluated}, {run_evaluation.images}",
        "Precision": "fp32",
    } | machine_facts(run_evaluation.environment)
    recipe = Details("The recipe of the training", [Code(tomli_w.dumps(run_evaluation.run.recipe))])
    return Section("Run details", [*dataset.notes, KeyValues(facts), recipe])
