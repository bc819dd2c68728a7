"""The score of a probe over tasks, on small imitations of datasets of TFDS."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.errors import UserError
from mixlab.evaluation.probes import features
from mixlab.report.table import render
from mixlab.stats.estimate import Estimate
from mixlab.studies.result import study_page
from mixlab.studies.tasks import Task, TasksResult, mean_of, run_tasks, tfds_folder
from prepared_tfds import prepare
from report.test_references import entry_keys
from studies.test_result import written

tfds = pytest.importorskip("tensorflow_datasets", reason='needs the extra: pip install "mixlab[tfds]"')

WEIGHTS = Path(__file__).parents[1] / "golden" / "locuslab_convmixer_tiny.pth.tar"


def small_task(name: str, group: str, source: str) -> Task:
    return Task(name=name, group=group, source=source, train="train[:8]", validation="train[8:12]", test="train[12:]")


TASKS = (
    small_task("Shades", "natural", "shades"),
    small_task("Shades again", "natural", "shades"),
    small_task("Stripes", "structured", "stripes/wide"),
)


@dataclass(frozen=True)
class Settings:
    folder: str
    model: str = str(WEIGHTS)
    probe: str = "knn:1"
    batch: int = 8


def silent(sentence: str) -> None:
    pass


def shade(label: int, seed: int) -> io.BytesIO:
    """A dark or light image with noise."""
    noise = np.random.default_rng(seed).integers(0, 60, (8, 8, 3)) + 150 * label
    content = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(content, "png")
    content.seek(0)
    return content


def prepare_shades(folder: Path, name: str, config: str = "") -> Path:
    shades = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["dark", "light"])}
    rows = [{"image": shade(n % 2, seed=n), "label": n % 2} for n in range(20)]
    return prepare(folder, shades, {"train": rows}, name, config)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in ("mixlab.data.readers.tfds", features.__name__):
        monkeypatch.setattr(f"{module}.cache_folder", lambda: tmp_path / "cache")
    prepare_shades(tmp_path / "sets", "shades")
    return tmp_path / "sets"


def run(settings: Settings) -> TasksResult:
    return run_tasks(
        TASKS,
        settings,
        title="How well?",
        command="mixlab study imitation",
        score="The score",
        notes=("A note.",),
        references=("vtab",),
        quiet=True,
        log=silent,
    )


def test_all_tasks_give_the_score(folder, tmp_path):
    prepare_shades(folder, "stripes", "wide")
    result = run(Settings(str(folder)))
    assert result.missing == {}
    assert [len(each.labels) for each in result.results.values()] == [8, 8, 8]
    assert [each.fitted[0].images for each in result.results.values()] == [12, 12, 12]
    accuracies = [each.top1.value for each in result.results.values()]
    assert result.mean.value == pytest.approx(np.mean(accuracies))
    assert f"The probe knn:1 was fitted to frozen features of {WEIGHTS}" in result.methods
    assert "of 3 of 3 tasks" in result.methods and "there are no tests" in result.methods
    assert entry_keys(result.bibtex) == ["mixlab", "pytorch", "convmixer", "vtab"]
    stored = written(result, tmp_path)
    assert (stored["methods"], stored["bibtex"]) == (result.methods, result.bibtex)
    assert result.summary.sentence == f"The score of {WEIGHTS} with frozen features is {np.mean(accuracies):.1f} %."
    tasks, means = result.tables()
    assert [row["task"] for row in tasks.rows] == ["Shades", "Shades again", "Stripes"]
    assert [(row["group"], row["tasks"]) for row in means.rows] == [
        ("natural", "2 of 2"),
        ("structured", "1 of 1"),
        ("all", "3 of 3"),
    ]


def test_a_missing_dataset_is_a_row_and_a_note_that_says_what_to_put_where(folder):
    result = run(Settings(str(folder)))
    reason = (
        f"{folder}/stripes/wide has no prepared dataset: run `tfds build stripes --config=wide "
        f"--file_format=array_record --data_dir={folder}`, or copy it there."
    )
    assert result.missing == {"Stripes": reason}
    tasks, means = result.tables()
    assert tasks.rows[2] == {"task": "Stripes", "group": "structured"}
    assert f"Stripes is missing: {reason}" in tasks.notes
    assert [(row["tasks"], row["top1"] is None) for row in means.rows] == [
        ("2 of 2", False),
        ("0 of 1", True),
        ("2 of 3", False),
    ]
    assert "on 2 of 3 tasks. This is not The score, which needs all of them." in result.summary.sentence
    stored = json.loads(json.dumps(result.to_dict()))
    assert (stored["complete"], stored["tasks"][2]["reason"]) == (False, reason)
    assert stored["tasks"][0]["metric"] == "top-1" and "top1" in stored["tasks"][0]


def test_the_page_shows_the_tasks_and_no_claims(folder):
    result = run(Settings(str(folder)))
    html = study_page(result).html()
    assert "How well?" in html and "Top-1 of each task" in html and "<svg" in html
    assert "Claims" not in html
    assert all(render(table, "markdown") for table in result.tables())


def test_too_few_images_for_the_probe_are_reported_with_the_task(folder):
    prepare_shades(folder, "stripes", "wide")
    with pytest.raises(
        UserError, match=r"^None of the 3 tasks can be evaluated. The first one: knn:13 needs 13 training"
    ):
        run(Settings(str(folder), probe="knn:13"))


def test_no_dataset_at_all_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"^None of the 3 tasks can be evaluated. The first one: .*/shades has no prep"):
        run(Settings(str(tmp_path)))


def test_unknown_weights_and_probes_are_errors_before_any_task(tmp_path):
    with pytest.raises(UserError, match="nothing"):
        run(Settings(str(tmp_path), model="nothing"))
    with pytest.raises(UserError, match=r'^probe "svm" is unknown'):
        run(Settings(str(tmp_path), probe="svm"))


def test_the_latest_version_is_read(folder):
    older = folder / "shades" / "0.9.10"
    older.mkdir()
    (older / "dataset_info.json").write_text("broken")
    assert len(TASKS[0].open(folder, quiet=True).splits["train"]) == 8


def test_the_folder_is_the_option_then_the_environment_then_the_default_of_tfds(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/elsewhere")
    assert tfds_folder("sets") == Path("sets")
    assert tfds_folder("") == Path("/elsewhere")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert tfds_folder("") == Path.home() / "tensorflow_datasets"


def test_the_interval_of_a_mean_is_that_of_independent_estimates():
    """Simulated: accuracies of two independent test sets, whose intervals have these widths."""
    first, second = Estimate(80.0, 74.0, 86.0, 100, "%"), Estimate(50.0, 42.0, 58.0, 300, "%")
    mean = mean_of([first, second])
    rng = np.random.default_rng(0)
    draws = (rng.normal(80, 6 / 1.96, 400_000) + rng.normal(50, 8 / 1.96, 400_000)) / 2
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (mean.value, mean.n) == (65.0, 400)
    assert (mean.low, mean.high) == pytest.approx((low, high), abs=0.05)
    assert mean.high == pytest.approx(70.0)  # 3, 4 and 5 are sides of a right-angled triangle
