"""The folder of a study's result.

results.json      what every study has, such as the question, the findings and the tables, and what only this one has
report.html       the page
figures/*.png     the figures
correct/*.correct which test images each training classifies correctly, for `mixlab evaluate --against`
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from mixlab.files import atomic_folder
from mixlab.report.result_folder import write_result_files
from mixlab.studies.arms import TrainedArms
from mixlab.studies.result import StudyResult, claims_table, study_page

SCHEMA = 3


def write_result(
    folder: Path,
    result: StudyResult,
    *,
    command: str,
    seconds: float,
    trained: TrainedArms | None = None,
    data: Mapping[str, str | int | None],
    notes: Sequence[str] = (),
) -> None:
    """Write the folder of a result.

    folder    is created; it must not exist
    command   the command line that repeats the study
    seconds   how long the command took; trainings from the store need none
    trained   the arms, for studies with trainings
    data      the fingerprint of the data, and the numbers of test images that were left out, by the reason
    notes     sentences about the data
    """
    findings = result.findings()
    tables = [*([claims_table(findings)] if findings else []), *result.tables()]
    with atomic_folder(folder) as temporary:
        common = {
            "schema": SCHEMA,
            "title": result.title,
            "command": command,
            "date": date.today().isoformat(),
            "seconds": seconds,
            "summary": result.summary.sentence,
            "notes": list(notes),
            "findings": [finding.to_dict() for finding in findings],
            "tables": [table.to_dict() for table in tables],
            "environment": dict(result.environment),
            "methods": result.methods,
            "bibtex": result.bibtex,
        }
        write_result_files(temporary, study_page(result, notes), result.to_dict() | common | dict(data))
        if trained is not None:
            trained.write_correctness(temporary / "correct")
