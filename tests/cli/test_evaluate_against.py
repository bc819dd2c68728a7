"""`mixlab evaluate --against`, `--save`, several runs and several data sets."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.evaluation import corruption_evaluation, scorer
from mixlab.evaluation.corruptions import corrupted_images
from mixlab.evaluation.views import Views


@pytest.fixture
def others(run, trained, train, pets) -> list[str]:
    """Runs of the same training with other seeds."""
    for seed in (1, 2, 3):
        assert run(*train, "--data", f"folder:{pets}", "--seed", seed, "--out", f"other{seed}").status == 0
    return ["other1", "other2", "other3"]


def test_two_runs_are_compared_on_the_same_images(run, trained, others):
    ended = run("evaluate", trained, "--against", others[0], "--format", "json", "--quiet")
    assert (ended.status, ended.err) == (0, "")
    results = json.loads(ended.out)
    (against,) = results["against"]
    assert (against["images"], against["a"]["runs"], against["b"]["runs"]) == (8, 1, 1)
    assert against["mcnemar_p"] is not None
    other = json.loads(run("evaluate", others[0], "--format", "json", "--quiet").out)
    difference = results["top1"]["value"] - other["top1"]["value"]
    assert against["difference"]["difference"] == pytest.approx(difference)


def test_runs_of_the_same_model_are_named_by_their_folders(run, trained, others):
    out = run("evaluate", trained, "--against", others[0], "--quiet").out
    assert "run and other1 on the 8 images of" in out


def test_several_runs_of_a_method_have_a_mean_and_two_parts_of_the_error(run, trained, others):
    ended = run("evaluate", f"{trained},other1", "--against", "other2,other3", "--format", "json", "--quiet")
    assert ended.status == 0
    results = json.loads(ended.out)
    assert len(results["evaluations"]) == 4
    assert results["against"][0]["mcnemar_p"] is None
    assert results["against"][0]["difference"]["seeds"] == [2, 2]
    table = run("evaluate", f"{trained},other1", "--against", "other2,other3", "--quiet").out
    assert "mean" in table and "standard error due to the runs" in table


def test_runs_of_different_models_are_not_one_method(run, trained, pets):
    fields = ("--set", "image_size=8", "--set", "steps=1", "--set", "speed=off", "--quiet")
    run("train", "--data", "folder:pets", "--model", "convmixer_nano", *fields, "--out", "conv")
    ended = run("evaluate", f"{trained},conv", "--quiet")
    assert ended.status == 2
    assert "are runs of different models, convmixer_nano and mixer_nano: the runs of one method" in ended.err


def test_a_saved_file_has_one_bit_per_image_and_is_compared_with(run, trained, others):
    ended = run("evaluate", others[0], "--save", "other.correct", "--quiet")
    assert ended.status == 0
    assert b"folder:pets" in Path("other.correct").read_bytes()
    assert str(Path.cwd()).encode() not in Path("other.correct").read_bytes()
    by_file = run("evaluate", trained, "--against", "other.correct", "--format", "json", "--quiet")
    by_run = run("evaluate", trained, "--against", others[0], "--format", "json", "--quiet")
    file, model = (json.loads(one.out)["against"][0] for one in (by_file, by_run))
    assert file["difference"] == model["difference"]


def test_other_images_are_refused_with_the_difference(run, trained, pets):
    run("evaluate", trained, "--save", "own.correct", "--quiet")
    for index in range(4):
        new = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        for label in ("cat", "dog"):
            Path("others", label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(new + (label == "dog")).save(Path("others", label, f"{index}.png"))
    ended = run("evaluate", trained, "--data", "folder:others", "--against", "own.correct", "--quiet")
    assert ended.status == 2
    assert "were evaluated on different sets" in ended.err


def test_the_report_begins_with_the_comparison(run, trained, others):
    assert run("evaluate", trained, "--against", others[0], "--out", "report", "--quiet").status == 0
    page = Path("report/report.html").read_text()
    assert page.index("run against other1 on") < page.index("Confusion matrix")
    results = json.loads(Path("report/results.json").read_text())
    assert len(results["against"]) == 1


def test_several_data_sets_have_ranks(run, trained, others):
    for name, seed in (("left", 0), ("right", 10)):
        for index in range(6):
            for label in ("cat", "dog"):
                pixels = np.random.default_rng(seed + index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Path(name, label).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels + (label == "dog")).save(Path(name, label, f"{index}.png"))
    sets = ("--data", "folder:left", "--data", "folder:right")
    ended = run("evaluate", trained, "--against", others[0], *sets, "--format", "json", "--quiet")
    assert ended.status == 0
    results = json.loads(ended.out)
    assert len(results["against"]) == 2 and results["sets"]["reference"] == "run"
    table = run("evaluate", trained, "--against", others[0], *sets, "--out", "report", "--quiet")
    assert "mean rank" in table.out
    assert "Over all data sets" in Path("report/report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--margin", "0", "--against", "x"),
            "--margin 0 is out of range: it must be above 0 and below 100 percentage points",
        ),
        (
            ("--margin", "inf", "--against", "x"),
            "--margin inf is out of range: it must be above 0 and below 100 percentage",
        ),
        (("--margin", "2"), "--margin has no effect without --against: add it, or leave --margin out."),
        (("--accuracy", "100"), "--accuracy 100 is not possible: give per cent above 0 and below 100, for example 99."),
        (("--save", "file.txt"), "--save file.txt has no known format: give a file that ends in .correct."),
        (("--save", "a.correct", "--data", "folder:pets", "--data", "digits"), "--save is for one run on one data set"),
        (("--save-logits", "a.parquet", "--data", "x", "--data", "y"), "--save-logits is for one run on one data set"),
        (("--corruptions", "fog", "--data", "x", "--data", "y"), "--corruptions is for one run on one data set"),
        (("--corruptions", "fog, smoke"), 'corruption "smoke" is unknown'),
        (("--data", "folder:pets", "--data", "folder:pets"), "--data has folder:pets twice, and data sets must be"),
        (("--against", "run,run"), "run,run has run twice, and runs of one method must be different ones: remove one"),
        (("--against", "run,./run"), "run,./run has ./run twice"),
        (("--tta-below", "0.5"), "A confidence for test-time augmentation needs an augmentation: add --tta flip."),
        (("--tta", "flop"), 'test-time augmentation "flop" is unknown: it must be flip or flip-shift. Did you mean'),
        (("--tta", "flip", "--tta-below", "2"), "--tta-below 2 is out of range: give a confidence above 0, at most 1."),
        (("--crop", "resize-crops"), 'crop "resize-crops" is unknown: it must be resize-crop, resmall-crop, resize.'),
        (("--probe", "knn:3"), "--probe needs one data set with training and test images: give it with --data."),
        (("--probe", "knn:3", "--against", "x"), "--against has no effect with --probe: leave one of them out."),
        (("--probe", "knn:3", "--save", "a.correct"), "--save has no effect with --probe: leave one of them out."),
        (("--probe", "knn:3", "--tta-below", "0"), "--tta-below has no effect with --probe: leave one of them out."),
        (("--probe", "knn:3", "--accuracy", "90"), "--accuracy has no effect with --probe: leave one of them out."),
        (("--windows", "0"), "--windows has no effect with a model without masks: leave one of them out."),
        (("--corruptions", "smoke"), "smoke"),
        (("--real", "real.json"), "real.json can't be read"),
        (("--against", "nothing"), 'No weights have the name or path "nothing"'),
    ],
)
def test_a_mistake_ends_in_its_sentence(run, trained, words, message):
    ended = run("evaluate", trained, *words)
    assert ended.status == 2 and ended.out == ""
    assert message in ended.err
    assert not Path("a.correct").exists()


def test_the_csv_names_the_run_of_each_row_and_has_the_comparison(run, trained, others):
    ended = run("evaluate", trained, "--against", others[0], "--format", "csv", "--quiet")
    first, *compared = ended.out.split("\n\n")
    rows = list(csv.DictReader(first.splitlines()))
    assert {row["run"] for row in rows} == {"run", "other1"}
    assert all(row["data"].endswith("pets") for row in rows)
    assert any("run minus other1," in table for table in compared)


def test_saved_answers_of_several_runs_are_one_method(run, trained, others):
    for name in others[:2]:
        assert run("evaluate", name, "--save", f"{name}.correct", "--quiet").status == 0
    files = ",".join(f"{name}.correct" for name in others[:2])
    by_file, by_run = (
        json.loads(run("evaluate", trained, "--against", method, "--format", "json", "--quiet").out)["against"][0]
        for method in (files, ",".join(others[:2]))
    )
    assert by_file["difference"] == by_run["difference"]
    assert by_file["difference"]["seeds"] == [1, 2]


def test_saved_answers_need_something_that_they_are_compared_with(run, trained):
    assert run("evaluate", trained, "--save", "own.correct", "--quiet").status == 0
    ended = run("evaluate", "own.correct")
    assert (ended.status, ended.out) == (2, "")
    assert "own.correct only says which answers are correct: give what it is compared with as --against." in ended.err
    ended = run("evaluate", "own.correct", "--against", trained, "--crop", "resize")
    assert "--crop has no effect with a file of --save: leave one of them out." in ended.err


def test_a_probe_is_evaluated_on_the_features_of_the_run(run, trained, pets):
    ended = run("evaluate", trained, "--data", "folder:pets", "--probe", "knn:3", "--format", "json", "--quiet")
    assert ended.status == 0
    assert json.loads(ended.out)["probe"] == "knn:3"


@pytest.mark.parametrize("probe", ["fewshot:1", "ridge"])
def test_a_probe_has_a_report_with_every_class(run, trained, pets, probe):
    ended = run("evaluate", trained, "--data", "folder:pets", "--probe", probe, "--out", "report", "--quiet")
    assert ended.status == 0
    results, page = json.loads(Path("report/results.json").read_text()), Path("report/report.html").read_text()
    assert results["probe"] == probe
    assert [f"<td>{name}</td>" in page for name in ("cat", "dog")] == [True, True]
    assert ("Penalties" in page, "Of the first draw" in page) == (probe == "ridge", probe == "fewshot:1")


@pytest.fixture
def large(run, here) -> Path:
    """A run of one step on images that are large enough for corruptions."""
    for index in range(20):
        for label in ("cat", "dog"):
            pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Path("large", label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels + (label == "dog")).save(Path("large", label, f"{index}.png"))
    train = ("train", "--data", "folder:large", "--model", "convmixer_nano", "--set", "steps=1", "--set", "speed=off")
    assert run(*train, "--set", "image_size=32", "--quiet", "--out", "run").status == 0
    return Path("run")


def test_corrupted_images_are_evaluated_with_the_chosen_views(run, large, monkeypatch):
    prepare, given = corruption_evaluation.prepare_evaluation, []
    monkeypatch.setattr(
        corruption_evaluation,
        "prepare_evaluation",
        lambda source, data, **options: given.append(options["views"]) or prepare(source, data, **options),
    )
    options = ("--crop", "resize-crop", "--tta", "flip")
    assert run("evaluate", large, "--corruptions", "contrast", *options, "--quiet").status == 0
    assert given == [Views("resize-crop", "flip")]


def test_stored_parts_of_one_corruption_are_not_those_of_another(run, large, monkeypatch, tmp_path):
    monkeypatch.setattr(scorer, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(scorer, "images_per_part", lambda classes: 2)
    monkeypatch.setattr(scorer.Scorer, "remove_parts", lambda scorer: None)  # as after an interruption
    corrupt, kinds = corrupted_images.corrupt, []
    monkeypatch.setattr(
        corrupted_images, "corrupt", lambda image, kind, *more: kinds.append(kind) or corrupt(image, kind, *more)
    )
    for kind in ("contrast", "brightness", "contrast"):
        assert run("evaluate", large, "--corruptions", kind, "--quiet").status == 0
    assert set(kinds) == {"contrast", "brightness"}
    assert kinds.count("contrast") == kinds.count("brightness") > 0


def test_corruptions_have_a_row_each(run, large):
    ended = run("evaluate", large, "--corruptions", "fog,contrast", "--out", "report", "--format", "json", "--quiet")
    assert (ended.status, ended.err) == (0, "")
    corrupted = json.loads(ended.out)["corruptions"]
    assert corrupted["execution"]["execution"] == "eager"
    assert list(corrupted["top1"]) == ["fog", "contrast"] and list(corrupted["top1"]["fog"]) == list("12345")
    assert corrupted["mce"] is None  # it is defined for all kinds
    assert "Corrupted images" in Path("report/report.html").read_text()


def test_views_are_named_and_change_the_evaluation(run, trained):
    plain = json.loads(run("evaluate", trained, "--format", "json", "--quiet").out)
    flipped = json.loads(run("evaluate", trained, "--tta", "flip", "--format", "json", "--quiet").out)
    assert plain["views"] == {} and flipped["views"] == {"Test-time augmentation": "flip, all images"}
    assert plain["nll"]["value"] != flipped["nll"]["value"]
    assert "Crop: resize." in run("evaluate", trained, "--crop", "resize", "--quiet").out


def test_a_weights_file_needs_data(run, trained):
    shutil.copy(trained / "model.safetensors", "weights.safetensors")
    ended = run("evaluate", "weights.safetensors")
    assert ended.status == 2
    assert "weights.safetensors is not the folder of a run, which has test images of its own: give the" in ended.err
