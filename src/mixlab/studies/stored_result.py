"""The folder of a study's result.

results.json      what every study has, such as the question, the findings and the tables, and what only this one has
report.html       the page
figures/*.png     the figures
correct/*.correct which test images each training classifies correctly, for `mixlab evaluate --against`
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from mixlab.files import atomic_folder, write_json, write_text
from mixlab.report.figure import Figure
from mixlab.report.image_panels import ImageFigure
from mixlab.studies.arms import TrainedArms
from mixlab.studies.result import StudyResult, claims_table, study_page

SCHEMA = 3


def write_result(
    folder: Path,
    result: StudyResult,
    *,
    command: str,
    trained: TrainedArms | None = None,
    left_out: Mapping[str, int | None],
    notes: Sequence[str] = (),
) -> None:
    """Write the folder of a result.

    folder    is created; it must not exist
    command   the command line that repeats the study
    trained   the arms, for studies with trainings
    left_out  the numbers of test images that were left out, by the reason
    notes     sentences about the evaluated images
    """
    findings = result.findings()
    tables = [*([claims_table(findings)] if findings else []), *result.tables()]
    with atomic_folder(folder) as temporary:
        (temporary / "figures").mkdir()
        figures = [_write_figure(figure, temporary) for figure in result.figures()]
        common = {
            "schema": SCHEMA,
            "title": result.title,
            "command": command,
            "date": date.today().isoformat(),
            "summary": result.summary.sentence,
            "notes": list(notes),
            "findings": [finding.to_dict() for finding in findings],
            "tables": [table.to_dict() for table in tables],
            "figures": figures,
            "environment": dict(result.environment),
            "methods": result.methods,
            "bibtex": result.bibtex,
        }
        write_json(temporary / "results.json", result.to_dict() | common | dict(left_out))
        write_text(temporary / "report.html", study_page(result, notes).html())
        if trained is not None:
            trained.write_correctness(temporary / "correct")


def _write_figure(figure: Figure | ImageFigure, folder: Path) -> dict[str, str]:
    name = re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-")
    path = folder / "figures" / f"{name}.png"
    figure.save_png(path)
    return {"title": figure.title, "caption": figure.caption, "file": path.relative_to(folder).as_posix()}
