"""`mixlab compare`: published weights on photographs, or training from scratch on request."""

import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from mixlab.comparison import compare_pretrained
from mixlab.speed.plan import ComputeMode
from mixlab.stats.intervals import median_interval

OURS = "mixer_nano.test,convmixer_nano.test"


@pytest.fixture(autouse=True)
def speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        compare_pretrained,
        "images_per_second",
        lambda models, device, batch: {
            name: (ComputeMode(), median_interval([9.0] * 9, "images/s")) for name in models
        },
    )


def test_photographs_are_compared_with_published_weights_by_default(run, default_weights, photographs):
    ended = run("compare", "--data", f"folder:{photographs}", "--out", "out")
    assert ended.status == 0, ended.err
    assert "Report: out/report.html" in ended.out
    assert "so pre-training confounds the architectures" in ended.out
    results = json.loads(Path("out/results.json").read_text(encoding="utf-8"))
    assert list(results["models"]) == default_weights
    assert results["budget"]["folds"] == 5
    assert results["command"].startswith(f"mixlab compare --data folder:{photographs} --models ")
    assert results["summary"] in ended.out and results["tables"] and results["figures"]
    assert all(Path("out", figure["file"]).stat().st_size > 1000 for figure in results["figures"])
    assert "pre-training confounds" in Path("out/report.html").read_text(encoding="utf-8")
    assert "[4/4] timm:test_resnet.r160_in1k" in ended.err


def test_the_tables_of_a_paper_are_on_standard_output_and_the_conclusion_is_on_standard_error(
    run, default_weights, photographs
):
    ended = run("compare", "--data", f"folder:{photographs}", "--out", "out", "--format", "latex")
    assert ended.status == 0, ended.err
    summary = json.loads(Path("out/results.json").read_text(encoding="utf-8"))["summary"]
    assert "\\begin{tabular}" in ended.out and "Report:" not in ended.out and summary not in ended.out
    assert summary in ended.err and "Report: out/report.html" in ended.err


def test_the_recipe_in_the_report_trains_the_recommended_head(run, default_weights, photographs):
    run("compare", "--data", f"folder:{photographs}", "--models", OURS, "--out", "out")
    recipe = re.search(r"<pre><code>(model = .*?)</code></pre>", Path("out/report.html").read_text("utf-8"), re.DOTALL)
    assert recipe is not None
    Path("head.toml").write_text(unescape(recipe[1]), encoding="utf-8")
    ended = run("train", "head.toml", "--out", "run")
    assert ended.status == 0, ended.err
    assert json.loads(Path("run/status.json").read_text("utf-8"))["state"] == "done"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seeds", "3"),
        ("--epochs", "1"),
        ("--minutes", "1.5"),
        ("--image-size", "64"),
        ("--match", "macs"),
        ("--tune", "2"),
    ],
)
def test_training_options_are_rejected_for_published_weights(run, default_weights, photographs, option, value):
    ended = run("compare", "--data", f"folder:{photographs}", option, value)
    assert ended.status == 2
    assert f"{option} {value} has no effect on published weights, which are not trained: remove it" in ended.err


@pytest.mark.parametrize("arguments", [("--from-scratch",), ("--models", "mixer_nano,davit_nano")])
def test_folds_are_rejected_for_trained_models(run, default_weights, photographs, arguments):
    ended = run("compare", "--data", f"folder:{photographs}", "--folds", "5", *arguments)
    assert ended.status == 2
    assert "--folds 5 applies to published weights only: models that are trained from scratch" in ended.err


def test_missing_weights_are_an_error_with_an_alternative(run, default_weights, photographs, tmp_path):
    shutil.rmtree(tmp_path / "cache" / "weights" / "davit_nano.test")
    ended = run("compare", "--data", f"folder:{photographs}", "--out", "out")
    assert ended.status == 2
    assert ended.err.endswith("Or use --from-scratch to compare models without published weights.\n")
    assert not Path("out").exists()


@pytest.mark.long
def test_from_scratch_trains_small_models_on_photographs(run, photographs):
    ended = run(
        *("compare", "--data", f"folder:{photographs}", "--from-scratch", "--models", "mixer_nano,convmixer_nano"),
        *("--seeds", "1", "--epochs", "1", "--out", "out", "--quiet"),
    )
    assert ended.status == 0, ended.err
    assert json.loads(Path("out/results.json").read_text(encoding="utf-8"))["budget"]["epochs"] == 1
    assert "pre-training" not in ended.out


def test_the_number_of_folds_can_be_set(run, default_weights, photographs):
    ended = run(
        "compare", "--data", f"folder:{photographs}", "--models", OURS, "--folds", "3", "--out", "out", "--quiet"
    )
    assert ended.status == 0, ended.err
    assert "in 3 folds" in ended.out
    assert ended.err == ""


def test_a_list_of_models_may_have_commas_in_brackets(run):
    ended = run("compare", "--data", "digits", "--models", "variant:metaformer:depths=[1,2]:nope=1,mixer_nano")
    assert ended.status == 2
    assert '"nope" is not a field of MetaFormerConfig' in ended.err


def test_weights_are_not_trained_from_scratch(run, default_weights, photographs):
    models = f"{default_weights[0]},mixer_nano"
    ended = run("compare", "--data", f"folder:{photographs}", "--models", models, "--from-scratch", "--out", "out")
    assert ended.status == 2
    assert f"{default_weights[0]} is pretrained, but --from-scratch trains all models from scratch: give " in ended.err
