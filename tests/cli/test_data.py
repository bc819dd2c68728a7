"""`mixlab data`: check, labels and preview."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def small() -> tuple[str, ...]:
    """A recipe for images of eight pixels."""
    config = "{ channels = 8, token_hidden = 8, channel_hidden = 8, depth = 1 }"
    settings = ("image_size=8", "model=mixer_nano", f"config={config}", "augmentation={ mixup = { alpha = 1.0 } }")
    return ("--recipe", "small_images_mixer", *(word for setting in settings for word in ("--set", setting)))


def test_a_check_prints_tables_and_writes_no_files(run, pets):
    before = sorted(Path().rglob("*"))
    ended = run("data", "check", f"folder:{pets}")
    assert (ended.status, ended.err) == (0, "")
    assert "Images per class" in ended.out and "Sizes: all 8x8 pixels" in ended.out
    assert sorted(Path().rglob("*")) == before


def test_a_check_that_finds_problems_succeeds(run, pets):
    (pets / "cat/00.png").write_bytes(b"")
    ended = run("data", "check", f"folder:{pets}")
    assert ended.status == 0
    assert "Unreadable: 1 image." in ended.out and "it is empty" in ended.out


def test_notes_about_the_source_go_to_standard_error(run, pets):
    (pets / "notes.txt").write_text("")
    note = "Skipped because they are not images: 1 file (.txt).\n"
    assert run("data", "check", f"folder:{pets}").err == note
    assert run("data", "check", f"folder:{pets}", "--quiet").err == ""


def test_the_findings_as_json_csv_and_markdown(run, pets):
    (pets / "dog/copy.png").write_bytes((pets / "cat/00.png").read_bytes())
    found = json.loads(run("data", "check", f"folder:{pets}", "--format", "json").out)
    assert found["groups"] == [
        {
            "exact": True,
            "members": [
                {"split": "train", "class": "cat", "name": "cat/00.png"},
                {"split": "train", "class": "dog", "name": "dog/copy.png"},
            ],
        }
    ]
    csv = run("data", "check", f"folder:{pets}", "--format", "csv").out.splitlines()
    assert csv[0] == "finding,group,split,label,name,reason"
    assert csv[1] == "identical,1,train,cat,cat/00.png,"
    assert "| class | train |" in run("data", "check", f"folder:{pets}", "--format", "markdown").out


def test_out_contains_a_report_and_results(run, pets):
    ended = run("data", "check", f"folder:{pets}", "--out", "found")
    assert ended.err == "Report: found/report.html\n"
    assert sorted(path.name for path in Path("found").iterdir()) == ["report.html", "results.json"]
    assert "No problems found" in Path("found/report.html").read_text(encoding="utf-8")
    again = run("data", "check", f"folder:{pets}", "--out", "found")
    assert again.status == 2 and "--out found already exists, and existing files are never overwritten" in again.err


def test_a_dataset_with_a_fixed_name_is_checked(run, here):
    ended = run("data", "check", "digits", "--quiet")
    assert ended.status == 0 and "test" in ended.out


def test_a_preview_is_a_single_page(run, pets, small):
    ended = run("data", "preview", f"folder:{pets}", *small, "--images", "4", "--out", "seen", "--quiet")
    assert (ended.status, ended.out, ended.err) == (0, "seen/report.html\n", "")
    assert [path.name for path in Path("seen").iterdir()] == ["report.html"]
    html = Path("seen/report.html").read_text(encoding="utf-8")
    assert f"<h1>Preview of folder:{pets.resolve()} for mixer_nano</h1>" in html and "A mixed batch" in html


def test_without_out_a_preview_is_written_to_runs(run, pets, small):
    ended = run("data", "preview", f"folder:{pets}", *small)
    assert ended.out.startswith("runs/preview-folder-pets-") and Path(ended.out.strip()).is_file()
    assert "A fifth of the images was held out as test" in ended.err


def test_a_preview_names_unreadable_images(run, pets, small):
    for path in sorted((pets / "cat").iterdir())[::2]:
        path.write_bytes(b"no image" + path.name.encode())
    ended = run("data", "preview", f"folder:{pets}", *small, "--images", "100", "--out", "seen")
    assert ended.status == 0
    assert "can't be read: it is not an image in a supported format." in ended.err


MISTAKES = {
    "no such set": (("check", "folder:nowhere"), "folder:nowhere does not exist"),
    "no verb": ((), "Missing command"),
    "an unknown verb": (("chek", "digits"), "Did you mean 'check'?"),
    "no data": (("check",), "Missing argument 'DATA'"),
    "no worker": (("check", "digits", "--workers", "0"), "Input should be greater than or equal to 1"),
    "no recipe": (("preview", "digits"), "Missing option '--recipe'"),
    "an unknown recipe": (("preview", "digits", "--recipe", "digits_mixr"), 'Did you mean "digits_mixer"?'),
    "one image": (
        ("preview", "digits", "--recipe", "digits_mixer", "--images", "1"),
        "Input should be greater than or equal to 2",
    ),
    "a misspelt key": (
        ("preview", "digits", "--recipe", "digits_mixer", "--set", "bach=8"),
        'the key "bach" is unknown',
    ),
    "no setting": (("preview", "digits", "--recipe", "digits_mixer", "--set", "batch"), '--set "batch" has no "="'),
    "a head": (
        ("preview", "digits", "--recipe", "head.toml"),
        "head.toml is a linear probe, which does not augment or mix images",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_writes_no_files(run, here, mistake):
    words, sentence = MISTAKES[mistake]
    Path("head.toml").write_text('model = "mixer_b16.goog_in1k"\n[linear_probe]\n')
    ended = run("data", *words)
    assert (ended.status, ended.out) == (2, "")
    assert sentence in ended.err and ended.err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["head.toml"]


def test_an_empty_folder_is_refused(run, here):
    Path("empty").mkdir()
    ended = run("data", "check", "folder:empty")
    assert ended.status == 2 and "has no images" in ended.err


@pytest.fixture
def weights(here, monkeypatch) -> str:
    """A tiny Mixer with random weights, and an empty cache of features."""
    from mixlab.evaluation.probes import features

    shutil.copy(Path(__file__).parents[1] / "golden" / "google_mixer_tiny.npz", "mixer.npz")
    monkeypatch.setattr(features, "cache_folder", lambda: here / "cache")
    return "mixer.npz"


def test_wrong_labels_are_found_and_the_corrected_table_is_a_dataset_without_them(run, pets, weights):
    for number in range(16, 20):
        (pets / f"dog/{number}.png").rename(pets / f"cat/wrong{number}.png")
    options = ("--model", weights, "--folds", "4", "--quiet")
    ended = run("data", "labels", f"folder:{pets}", *options, "--out", "found")
    suspects = json.loads(Path("found/results.json").read_text(encoding="utf-8"))["suspects"]
    assert ended.status == 0 and f"\n{len(suspects)} of 40 labels " in ended.out
    assert ended.out.endswith("Report: found/report.html\nTable: found/labels.csv\n")
    assert sorted(path.name for path in Path("found").iterdir()) == ["labels.csv", "report.html", "results.json"]
    assert suspects and all(each["name"].startswith("cat/wrong") and each["suggested"] == "dog" for each in suspects)
    lines = Path("found/labels.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    assert lines[1].startswith(f"{(pets / suspects[0]['name']).absolute()},cat,dog,")
    corrected = [line.replace(",cat,", ",dog,", 1) if "cat/wrong" in line else line for line in lines]
    Path("found/labels.csv").write_text("".join(corrected), encoding="utf-8")
    again = run("data", "labels", "csv:found/labels.csv", *options, "--out", "again")
    assert again.status == 0 and "None of 40 labels is suspected to be wrong." in again.out
    refusing = run("data", "labels", f"folder:{pets}", *options, "--out", "found")
    assert refusing.status == 2 and "--out found already exists" in refusing.err


def test_the_steps_are_logged_to_standard_error(run, pets, weights):
    ended = run("data", "labels", f"folder:{pets}", "--model", weights, "--folds", "2", "--out", "found")
    assert "A fifth of the images was held out as test" in ended.err
    assert "The training images of mixer.npz are unknown: if evaluated images are among them" in ended.err
    assert "Features of mixer.npz on " in ended.err


def test_data_without_labels_to_compare_are_refused(refused, pets, weights):
    def message(*arguments: str | Path) -> str:
        return refused("data", "labels", *arguments, "--quiet")

    assert "folds=1 leaves no images to train on" in message(f"folder:{pets}", "--model", weights, "--folds", "1")
    assert "has 20 different images of" in message(f"folder:{pets}", "--model", weights, "--folds", "21")
    assert '"mixer_nanoo" is not a known model' in message(f"folder:{pets}", "--model", "mixer_nanoo")
    (pets / "dog/00.png").write_bytes(b"no image")
    assert "dog/00.png" in message(f"folder:{pets}", "--model", weights)
    shutil.rmtree(pets / "dog")
    assert 'has only one class, "cat": a classifier needs at least two' in message(f"folder:{pets}", "--model", weights)


def test_weights_that_have_learned_from_every_image_of_a_class_are_refused(refused, pets, trained):
    split = json.loads((trained / "split.json").read_text(encoding="utf-8"))
    names = {*split["train"], *split["validation"]}
    for path in pets.rglob("*.png"):
        if path.relative_to(pets).as_posix() not in names:
            path.unlink()
    error = refused("data", "labels", f"folder:{pets}", "--model", trained, "--quiet")
    assert "images of" in error and "are training or validation images of run" in error
