"""The report of a judgement: the answer first, then every class, what is taken for what, and what ran."""

import tomli_w

from mixlab.evaluation.confident_errors import surest_mistakes
from mixlab.evaluation.run_evaluation import Judgement
from mixlab.evaluation.run_evaluation_tables import TITLES, class_table, confusion_tables
from mixlab.report.confusion import confusion_matrix
from mixlab.report.image_grid import Mistakes
from mixlab.report.machine import machine_facts
from mixlab.report.page import Answer, Beside, Code, Details, Facts, KeyFigure, Page, Section, written_by


def judgement_page(judgement: Judgement) -> Page:
    return Page(
        title=judgement.title,
        kicker=f"mixlab evaluate: {judgement.run.path}",
        answer=_answer(judgement),
        sections=[
            Section("What it recognises", [class_table(judgement)]),
            _mistakes(judgement),
            _what_ran(judgement),
        ],
        footer=written_by(judgement.environment["versions"]["mixlab"]),
    )


def _answer(judgement: Judgement) -> Answer:
    return Answer(
        judgement.answer,
        f"Judged: {judgement.judged}, {judgement.images}. Intervals are over images, for this one training.",
        [KeyFigure(TITLES[measure], estimate, 1) for measure, estimate in judgement.summary.items()],
    )


def _mistakes(judgement: Judgement) -> Section:
    evaluation = judgement.evaluation
    matrix = confusion_matrix(
        "What is taken for what",
        evaluation.confusion,
        evaluation.classes,
        caption=f"Answers for {judgement.images}.",
    )
    wrong = int((evaluation.predictions != evaluation.labels).sum())
    mistakes = surest_mistakes(judgement.part, evaluation.classes, evaluation.probabilities)
    shown = "all of them" if len(mistakes) == wrong else f"the surest {len(mistakes)}"
    gallery = Mistakes(
        "Most confidently wrong",
        mistakes,
        f"{wrong:,} of {judgement.images} are wrong; {shown}: the true class → the answer, and its probability.",
    )
    return Section("Where it errs", [Beside([matrix, gallery]), *confusion_tables(judgement)])


def _what_ran(judgement: Judgement) -> Section:
    dataset = judgement.dataset
    facts = {
        "Run": str(judgement.run.path),
        "Model": judgement.run.config["model"],
        "Data": f"{dataset.name}: {judgement.judged}, {judgement.images}",
        "Precision": "fp32",
    } | machine_facts(judgement.environment)
    recipe = Details("The recipe that it was trained with", [Code(tomli_w.dumps(judgement.run.recipe))])
    return Section("What ran", [*dataset.notes, Facts(facts), recipe])
