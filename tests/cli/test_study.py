"""`mixlab study`: its studies and their options, and what it prints and writes."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from mixlab.cli.options import split_names
from mixlab.cli.study import study_names
from mixlab.data.sources import open_dataset
from mixlab.evaluation.probes import features
from mixlab.models import mixer
from mixlab.speed.plan import ComputeMode
from mixlab.training.planning import autotune
from mixlab.training.planning.autotune import Timings
from shape_masks import write_camvid

GOLDEN = Path(__file__).parents[1] / "golden"
STUDY = ("study", "resolution", "--data", "folder:pets", "--seeds", "2", "--epochs", "1", "--images", "8")


@pytest.fixture
def fixed_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixed times, so that no compute mode is timed on this machine."""
    monkeypatch.setattr(
        autotune, "time_job", lambda job, log, *rest: Timings(min(job.batch, 20), "released", {ComputeMode(): 0.1})
    )


def plain(text: str) -> str:
    """The text in one line, without the frame of terminal output."""
    return " ".join(re.sub(r"[│╭╰─╮╯]", " ", text).split())


@pytest.mark.long
@pytest.mark.usefixtures("fixed_times")
def test_a_study_prints_its_tables_and_writes_report_and_results(run, pets):
    ended = run(*STUDY, "--out", "found", "--quiet")
    assert ended.status == 0
    assert "resampled, 24 px, fine-tuned" in ended.out
    assert "Claims" in ended.out and "Differences" in ended.out
    assert ended.out.endswith("Report: found/report.html\n")
    results = json.loads(Path("found/results.json").read_text())
    opened = open_dataset(f"folder:{pets}")
    assert len(results["data_fingerprint"]) == 32
    assert opened.notes and results["notes"][: len(opened.notes)] == list(opened.notes)
    settings = {"seeds": 2, "epochs": 1, "images": 8, "tuning_epochs": 1}
    assert (results["settings"], len(results["arms"]), len(results["findings"])) == (settings, 12, 3)
    page = Path("found/report.html").read_text()
    assert "How does a change of the image size affect the accuracy of a Mixer?" in page


@pytest.mark.long
@pytest.mark.usefixtures("fixed_times")
def test_the_study_of_transfer_prints_its_tables_and_writes_report_and_results(run, monkeypatch):
    monkeypatch.setattr(features, "cache_folder", lambda: Path("cache"))
    few = ("--seeds", "2", "--epochs", "1", "--images", "50", "--shots", "4", "--tuning-epochs", "1")
    ended = run("study", "transfer", "--data", "digits", *few, "--out", "found", "--quiet")
    assert ended.status == 0
    assert "from scratch, 5 times as long" in ended.out
    results = json.loads(Path("found/results.json").read_text())
    assert results["settings"] == {
        "model": "davit_nano",
        "seeds": 2,
        "epochs": 1,
        "images": 50,
        "shots": 4,
        "tuning_epochs": 1,
    }
    assert ([len(arm["scores"]) for arm in results["arms"]], len(results["findings"])) == ([2] * 4, 4)
    report = Path("found/report.html").read_text()
    assert "Do pre-trained models transfer to new classes?" in report
    assert "Split 2" in report and "Split 3" not in report


@pytest.mark.long
@pytest.mark.usefixtures("fixed_times")
def test_a_pilot_prints_repetitions_and_writes_no_result(run):
    small = ("--image-size", "8", "--patch-size", "1", "--channels", "8", "--depth", "1", "--positions", "learned")
    few = ("--seeds", "2", "--epochs", "1", "--images", "50")
    ended = run("study", "position", "--data", "digits", *small, *few, "--pilot", "--format", "json", "--quiet")
    assert ended.status == 0
    table = json.loads(ended.out)
    assert (table["title"], len(table["rows"])) == ("Pilot", 3)
    assert not list(Path("runs").glob("study-*"))


def test_a_transfer_of_trained_weights_is_refused(refused):
    sentence = refused("study", "transfer", "--data", "digits", "--model", "mixer_b16.goog_in1k", "--quiet")
    assert "mixer_b16.goog_in1k has trained weights, but the study trains the model itself" in sentence


def test_a_pilot_of_masks_is_refused(refused):
    masks = f"masks:{write_camvid(Path('shapes'))}"
    assert "--pilot leaves out images or sounds" in refused("study", "dense", "--data", masks, "--pilot", "--quiet")


def test_the_help_lists_the_studies_with_their_questions(run):
    ended = run("study", "--help")
    assert ended.status == 0
    assert {"avg5", "permutation", "resolution", "transfer", "vtab"} <= set(study_names())
    out = plain(ended.out)
    assert (
        "resolution How does a change of the image size affect the accuracy of a Mixer, before and after fine-tuning?"
        in out
    )
    assert "transfer Do pre-trained models transfer to new classes?" in out
    assert " arms " not in out and " result " not in out


@pytest.mark.parametrize("words", [["study"], ["study", "--help"]])
def test_no_study_is_imported_to_list_them(words):
    code = f"""
import sys
from mixlab.cli.main import main
try:
    main({words})
finally:
    assert "torch" not in sys.modules and "mixlab.studies.permutation" not in sys.modules
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "") and "permutation" in ended.stdout


@pytest.mark.parametrize("name", ["resolution", "transfer"])
def test_the_options_of_a_study_are_the_fields_of_its_settings_with_their_help(run, name):
    ended = run("study", name, "--help")
    assert ended.status == 0
    out, settings = plain(ended.out), import_module(f"mixlab.studies.{name}").Settings
    found = re.findall(r"(--[a-z-]+) <", out)
    assert found == [
        "--data",
        *("--" + field.name.replace("_", "-") for field in fields(settings)),
        "--format",
        "--out",
        "--speed",
        "--tuned",
    ]
    for field in fields(settings):
        assert field.metadata["help"] in out
        least = f"; x>={field.metadata['min']}" if "min" in field.metadata else ""
        assert f"[default: {field.default}{least}]" in out


@pytest.mark.parametrize("name", ["avg5", "vtab"])
def test_a_study_of_a_model_has_no_option_for_data(run, name):
    ended = run("study", name, "--help")
    assert ended.status == 0
    options = ["--model", "--probe", "--folder", "--batch", "--format", "--out"]
    assert re.findall(r"(--[a-z-]+) <", plain(ended.out)) == options


def test_a_study_may_have_data_of_its_own_by_default(run, refused, monkeypatch, tmp_path):
    assert "[default: spoken-digits]" in plain(run("study", "spoken-digits", "--help").out)
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path))
    assert refused("study", "spoken-digits", "--dry-run").startswith(f"spoken-digits is not at {tmp_path}")
    assert refused("study", "spoken-digits", "--data", "digits", "--dry-run") == (
        "mixlab study spoken-digits needs the Free Spoken Digit Dataset with its official split, not digits: give "
        "--data spoken-digits or --data spoken-digits:PATH."
    )


def test_only_a_study_with_trainings_has_the_options_of_trainings(run):
    options = {"--jobs", "--ray", "--speed", "--dry-run", "--pilot"}
    assert options <= set(re.findall("--[a-z-]+", plain(run("study", "transfer", "--help").out)))
    others = re.findall("--[a-z-]+", plain(run("study", "representation", "--help").out))
    assert options.isdisjoint(others) and "--trust-code" in others  # the code of a run may be a user's


def test_a_study_without_its_datasets_says_what_to_put_where(refused):
    shutil.copy(GOLDEN / "locuslab_convmixer_tiny.pth.tar", "tiny.pth.tar")
    sentence = refused("study", "avg5", "--model", "tiny.pth.tar", "--folder", "sets", "--out", "found")
    assert sentence == (
        "None of the 5 tasks can be evaluated. The first one: sets/imagenet2012 has no prepared dataset: run "
        "`tfds build imagenet2012 --file_format=array_record --data_dir=sets`, or copy it there."
    )
    assert not Path("found").exists()


def test_a_value_below_the_minimum_of_a_setting_is_refused(refused):
    sentence = refused("study", "resolution", "--data", "digits", "--seeds", "1")
    assert "'--seeds'" in sentence and "greater than or equal to 2" in sentence


def test_transfer_needs_four_classes(refused, pets):
    sentence = refused("study", "transfer", "--data", "folder:pets", "--out", "found")
    assert "has 2 classes, but the study needs at least 4" in sentence


def test_transfer_needs_as_many_images_as_shots(refused):
    sentence = refused("study", "transfer", "--data", "digits", "--shots", "5000", "--out", "found")
    assert "training images of" in sentence and "needs 5000 of each new class" in sentence


def test_an_unknown_study_is_refused_with_a_list_of_the_studies(refused):
    assert refused("study", "colour", "--data", "digits") == (
        f'There is no study "colour": the studies are {", ".join(study_names())}.'
    )
    assert refused("study", "transfers").endswith('Did you mean "transfer"?')


def test_the_command_of_a_study_has_hyphens_in_place_of_underscores(run, refused):
    assert "dual-attention" in study_names()
    assert "--window" in plain(run("study", "dual-attention", "--help").out)
    assert refused("study", "dual_attention", "--data", "digits").endswith('Did you mean "dual-attention"?')


@pytest.mark.parametrize("name", ["arms", "result", "tasks", "__init__"])
def test_modules_shared_by_studies_are_not_studies(refused, name):
    assert refused("study", name, "--data", "digits").startswith(f'There is no study "{name}"')


def test_several_tables_are_one_json_document_and_separate_csv_tables(run):
    words = ("study", "mixing", "--models", "mixer_nano", "--rows", "1", "--images", "1", "--quiet")
    tables = json.loads(run(*words, "--format", "json", "--out", "first").out)
    assert tables[0]["title"] == "Claims" and len(tables) == 3
    parts = run(*words, "--format", "csv", "--out", "second").out.split("\n\n")
    widths = [{len(row) for row in csv.reader(part.splitlines())} for part in parts]
    assert len(parts) == 3 and all(len(width) == 1 for width in widths)


def test_without_a_name_the_studies_are_listed_with_question_and_cost(run):
    ended = run("study", "--format", "json")
    assert ended.status == 0
    rows = json.loads(ended.out)["rows"]
    assert [row["study"] for row in rows] == study_names()
    assert all(row["question"].endswith("?") and row["cost"] for row in rows)
    assert "--dry-run" in run("study").out


PERMUTATION = ("study", "permutation", "--image-size", "8", "--models", "mixer_nano,resnet_nano", "--speed", "off")


def test_a_dry_run_prints_the_costs_and_trains_nothing(run, pets):
    ended = run(*PERMUTATION, "--data", f"folder:{pets}", "--epochs", "1", "--seeds", "2", "--dry-run", "--quiet")
    assert ended.status == 0
    assert "mixer_nano, both permuted" in ended.out and "About" in ended.out and "disk (MB)" in ended.out
    assert not Path("runs").exists()
    latex = run(*PERMUTATION, "--data", f"folder:{pets}", "--epochs", "1", "--dry-run", "--quiet", "--format", "latex")
    assert latex.out.count(r"\begin{table}") == 1


@pytest.mark.parametrize(
    ("options", "arm"),
    [(("dual-attention", "--image-size", "32", "--window", "2"), "channel only"),
     (("tying", "--image-size", "8"), "token MLP per channel, channel MLP per place, matched"),
     (("resolution",), "exact, 32 px, fine-tuned"),
     (("transfer", "--shots", "4", "--seeds", "2", "--data", "digits"), "linear probe"),
     pytest.param(("patches", "--rates", "0.01", "--batch", "2", "--image-size", "8", "--patch-size", "4", "--widths",
                   "32", "--parameters", "80000", "--macs", "320000", "--tolerance", "5"),
                  "depthwise, convolutions, pyramid, many images, rate 0.01", marks=pytest.mark.long)],
)  # fmt: skip
def test_a_dry_run_lists_the_arms_of_a_study(options, arm, run, pets):
    name, *settings = options
    dry_run = ("--epochs", "1", "--speed", "off", "--dry-run", "--quiet")
    ended = run("study", name, "--data", f"folder:{pets}", *settings, *dry_run)
    assert ended.status == 0
    assert arm in ended.out and "About" in ended.out
    assert not Path("runs").exists()


def test_a_list_of_models_may_have_commas_in_brackets():
    names = "mixer_nano, timm:cifar_resnet:layers=[1,1,1,1]:channels=[8,8,8,8],vit_nano"
    assert split_names(names) == ("mixer_nano", "timm:cifar_resnet:layers=[1,1,1,1]:channels=[8,8,8,8]", "vit_nano")


def test_a_study_of_few_images_or_one_class_is_refused(refused, pets):
    shutil.copytree(next(path for path in Path(pets).iterdir() if path.is_dir()), "single/only")
    assert 'has only one class, "only"' in refused(*PERMUTATION, "--data", "folder:single", "--out", "found")
    for label in ("cat", "dog"):
        Path("two", label).mkdir(parents=True)
        shutil.copy(Path(pets) / label / "00.png", Path("two") / label)
    assert "1 different image of" in refused(*PERMUTATION, "--data", "folder:two", "--out", "found")
    assert not Path("found").exists()


def test_your_own_model_takes_part(run, pets):
    source = Path(mixer.__file__).read_text(encoding="utf-8")
    Path("mine.py").write_text(source.replace("patch_size: int  #", "patch_size: int = 4  #"), encoding="utf-8")
    fields = "channels=8:token_hidden=8:channel_hidden=8:depth=1"
    models = ("--models", f"mixer_nano,py:mine.py:Mixer:{fields}")
    ended = run(*PERMUTATION, *models, "--data", f"folder:{pets}", "--epochs", "1", "--dry-run", "--quiet")
    assert ended.status == 0
    assert f"py:mine.py:Mixer:{fields}, both permuted" in ended.out


@pytest.mark.long
def test_a_study_with_tuned_settings_says_so_and_can_be_repeated(run, pets):
    source = Path(mixer.__file__).read_text(encoding="utf-8")
    Path("mine.py").write_text(source.replace("patch_size: int  #", "patch_size: int = 4  #"), encoding="utf-8")
    mine = "py:mine.py:Mixer:channels=8:token_hidden=8:channel_hidden=8:depth=1"
    trial = {"settings": {"learning_rate": 0.003, "weight_decay": 0.1, "stochastic_depth": 0.0, "augmentation": 0.5}}
    tuning = {mine: {"trials": [trial], "best": 0}}
    Path("tuned").mkdir()
    Path("tuned/results.json").write_text(json.dumps({"data": {"name": "pets"}, "tuning": tuning}))
    small = ("--data", "folder:pets", "--image-size", "8", "--epochs", "1", "--seeds", "2", "--exact-steps", "1")
    ended = run(*PERMUTATION, *small, "--models", mine, "--tuned", "tuned", "--out", "found", "--quiet")
    assert ended.status == 0, ended.err
    results = json.loads(Path("found/results.json").read_text())
    assert "--tuned tuned" in results["command"]
    assert any("best of 1 trial of its model on training images of pets" in note for note in results["notes"])
    assert {recipe["optimizer"]["learning_rate"] for recipe in results["recipes"].values()} == {0.003}


def test_tuned_settings_are_those_of_a_comparison_of_the_models(run, refused, pets):
    assert "is not the result of a comparison with tuned" in refused(
        *PERMUTATION, "--data", "folder:pets", "--tuned", "nowhere", "--dry-run"
    )


def test_an_occupied_folder_is_refused_before_anything_is_trained(refused, pets):
    Path("found").mkdir()
    Path("found/mine.txt").write_text("mine")
    assert "never overwritten" in refused(*STUDY, "--out", "found")


def test_the_help_of_mixlab_imports_no_torch_and_no_study():
    code = (
        "import sys; from mixlab.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('torch', 'timm', 'numpy')])\n"
        "print([name for name in sys.modules if name.startswith('mixlab.studies')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "study" in ended.stdout
    assert ended.stdout.splitlines()[-2:] == ["[]", "[]"]


@pytest.mark.parametrize("name", ["data-scale", "model-scale"])
def test_a_command_has_hyphens_where_its_module_has_underscores(run, refused, name):
    assert name in study_names()
    assert f"mixlab study {name} [OPTIONS]" in plain(run("study", name, "--help").out)
    underscored = name.replace("-", "_")
    assert refused("study", underscored, "--data", "digits").endswith(f'Did you mean "{name}"?')


def test_a_dry_run_of_data_scale_prints_the_costs(run):
    grid = ("--models", "mixer_nano", "--sizes", "small", "--regularisation", "off", "--shares", "50,100")
    size = ("--epochs", "1", "--seeds", "2", "--image-size", "8", "--speed", "off", "--dry-run", "--quiet")
    ended = run("study", "data-scale", "--data", "digits", *grid, *size)
    assert ended.status == 0
    assert "mixer_nano, small, regularisation off, 50 %" in ended.out and "About" in ended.out
