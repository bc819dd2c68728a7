"""The report of `mixlab evaluate`: accuracy first, then confidences, every class, the errors, and the run details."""

import tomli_w

from mixlab.data.dataset import Split
from mixlab.evaluation.calibration import reliability
from mixlab.evaluation.confident_errors import least_certain, most_confident_errors
from mixlab.evaluation.model_evaluation import ModelEvaluation
from mixlab.evaluation.model_evaluation_tables import class_table, confidence_table, confusion_tables
from mixlab.report.calibration import Marked, accuracy_by_coverage, reliability_diagram
from mixlab.report.confusion import confusion_matrix
from mixlab.report.image_grid import ErrorGallery
from mixlab.report.machine import machine_facts
from mixlab.report.numbers import number
from mixlab.report.page import Block, Code, Columns, Details, KeyValues, Metric, Page, Section, Summary, written_by
from mixlab.stats.selective import risk_coverage


def model_evaluation_page(evaluated: ModelEvaluation) -> Page:
    return Page(
        title=evaluated.title,
        kicker=f"mixlab evaluate: {evaluated.source}",
        summary=_summary(evaluated),
        sections=[
            _confidence(evaluated),
            Section("Classes", [class_table(evaluated)]),
            _errors(evaluated),
            _run_details(evaluated),
        ],
        footer=written_by(evaluated.environment["versions"]["mixlab"]),
    )


def _summary(evaluated: ModelEvaluation) -> Summary:
    return Summary(
        evaluated.conclusion,
        " ".join(
            [
                f"Evaluated on: {evaluated.evaluated}, {evaluated.samples}.",
                *([evaluated.trusted.conclusion(evaluated.noun)] if evaluated.trusted else []),
                f"Intervals are over {evaluated.noun}s and do not cover other trainings.",
            ]
        ),
        [Metric(metric.title, estimate, 1) for metric, estimate in evaluated.summary.items() if metric.is_share],
    )


def _confidence(evaluated: ModelEvaluation) -> Section:
    evaluation = evaluated.evaluation
    diagram = reliability_diagram(
        "Reliability",
        [(each.confidence, each.accuracy) for each in reliability(evaluation)],
        caption=f"Each point has equally many {evaluated.noun}s, with the 95 % interval of their accuracy. On the "
        "grey line, the confidence equals the accuracy; below it, the model is too confident.",
    )
    coverage, accuracy = risk_coverage(evaluation.confidences, evaluation.correct)
    curve = accuracy_by_coverage(
        "Accuracy of the most confident answers",
        coverage.tolist(),
        accuracy.tolist(),
        noun=evaluated.noun,
        wanted=evaluated.wanted,
        marked=_marked(evaluated),
        caption=f"If only the {evaluated.noun}s with the highest confidence are answered. Grey line: "
        f"{evaluated.wanted:g} %.",
    )
    return Section("Confidence", [Columns([diagram, curve]), confidence_table(evaluated)])


def _marked(evaluated: ModelEvaluation) -> Marked | None:
    trusted = evaluated.trusted
    if trusted is None or trusted.threshold is None or trusted.coverage is None or trusted.accuracy is None:
        return None
    label = f"confidence of at least {number(100 * trusted.threshold.confidence, 1)} %"
    return Marked(trusted.coverage.value, trusted.accuracy.value, label)


def _errors(evaluated: ModelEvaluation) -> Section:
    evaluation = evaluated.evaluation
    matrix = confusion_matrix(
        "Confusion matrix",
        evaluation.confusion,
        evaluation.classes,
        caption=f"Predictions for {evaluated.samples}.",
    )
    if evaluated.split is None:
        return Section("Errors", [matrix, *confusion_tables(evaluated)])
    errors, uncertain = _galleries(evaluated, evaluated.split)
    return Section("Errors", [Columns([matrix, errors]), *confusion_tables(evaluated), uncertain])


def _galleries(evaluated: ModelEvaluation, split: Split) -> tuple[ErrorGallery, ErrorGallery]:
    wrong = int((~evaluated.evaluation.correct).sum())
    errors = most_confident_errors(split, evaluated.evaluation)
    shown = "all of them" if len(errors) == wrong else f"the {len(errors)} most confident"
    return (
        ErrorGallery(
            "Most confident errors",
            errors,
            f"{wrong:,} of {evaluated.samples} are wrong; {shown}: true class → predicted class, with its probability.",
        ),
        ErrorGallery(
            f"Least certain {evaluated.noun}s",
            least_certain(split, evaluated.evaluation),
            f"{evaluated.noun.capitalize()}s with the lowest predicted probability, correct or not: true class → "
            "predicted class.",
        ),
    )


def _run_details(evaluated: ModelEvaluation) -> Section:
    facts = {
        "Weights": evaluated.source,
        "Model": evaluated.model,
        "Data": f"{evaluated.data}: {evaluated.evaluated}, {evaluated.samples}",
        "Execution": _execution(evaluated),
        **evaluated.views.facts,
    } | machine_facts(evaluated.environment)
    blocks: list[Block] = [*evaluated.notes, KeyValues(facts)]
    if evaluated.run is not None:
        blocks.append(Details("The recipe of the training", [Code(tomli_w.dumps(evaluated.run.recipe))]))
    return Section("Run details", blocks)


def _execution(evaluated: ModelEvaluation) -> str:
    if evaluated.split is None:
        return "saved logits"
    return "exported model, in ONNX Runtime" if evaluated.plan is None else str(evaluated.plan)
