"""The benchmarks run with the commands of their docstrings."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.cli.main import main
from mixlab.data.dataset import Dataset, Split
from mixlab.data.readers.cifar10 import CLASSES
from mixlab.evaluation.probes import features
from mixlab.report.table import render
from mixlab.runs.folder import Run
from mixlab.training.recipes.recipe_files import recipe_text
from mixlab.weights.load import load
from mixlab.zoo.architecture import architecture

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.long
def test_beside_timm_times_both_tasks_and_saves_all_samples(monkeypatch, tmp_path, capsys):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    out = tmp_path / "results.json"
    command = f"beside_timm.py --models mixer_nano --rounds 3 --batch 2 --out {out}"
    monkeypatch.setattr(sys, "argv", command.split())

    runpy.run_path(str(BENCHMARKS / "beside_timm.py"), run_name="__main__")

    results = json.loads(out.read_text())["results"]
    assert [result["task"] for result in results] == ["prediction", "training"]
    assert all(len(result["our_seconds"]) == len(result["their_seconds"]) == 3 for result in results)
    assert "Speed ratio" in capsys.readouterr().out


@pytest.mark.long
def test_loading_measures_all_times_and_the_peak_memory(monkeypatch, tmp_path, capsys):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", f"loading.py --model mixer_s32 --rounds 3 --out {out}".split())

    runpy.run_path(str(BENCHMARKS / "loading.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert [len(samples) for samples in results["seconds"].values()] == [3] * 5
    assert all(0 < peak < 10 * results["bytes"] for peak in results["peak_bytes"])
    assert "peak memory relative to the weights" in capsys.readouterr().out


@pytest.mark.long
def test_loop_overhead_times_both_loops_and_saves_all_steps(monkeypatch, tmp_path, capsys):
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", f"loop_overhead.py --model mixer_nano --batch 4 --steps 100 --out {out}".split())

    runpy.run_path(str(BENCHMARKS / "loop_overhead.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert len(results["our_seconds"]) == len(results["bare_seconds"]) == 100
    assert results["more"] > -50
    assert "overhead of the training loop" in capsys.readouterr().out


@pytest.mark.long
def test_both_loops_take_the_same_number_of_steps(monkeypatch, tmp_path, capsys):
    out = tmp_path / "results.json"
    command = f"loop_overhead.py --model convmixer_nano --batch 4 --steps 10 --out {out}"
    monkeypatch.setattr(sys, "argv", command.split())

    runpy.run_path(str(BENCHMARKS / "loop_overhead.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert len(results["our_seconds"]) == len(results["bare_seconds"]) == 10
    assert "overhead of the training loop" in capsys.readouterr().out


@pytest.mark.long
def test_retained_memory_times_both_processes(tmp_path):
    out, benchmark = tmp_path / "results.json", BENCHMARKS / "retained_memory.py"
    settings = ["--model", "mixer_nano", "--batch", "4", "--rounds", "3", "--out", out]

    finished = subprocess.run([sys.executable, benchmark, *settings], capture_output=True, text=True, check=True)

    results = json.loads(out.read_text())
    assert [len(samples) for samples in results["seconds"].values()] == [3, 3]
    assert "speed ratio, retained / stock" in finished.stdout


@pytest.mark.long
def test_start_up_times_all_commands_in_new_processes(tmp_path):
    out, benchmark = tmp_path / "results.json", BENCHMARKS / "start_up.py"

    finished = subprocess.run(
        [sys.executable, benchmark, "--rounds", "1", "--out", out], capture_output=True, text=True, check=True
    )

    results = json.loads(out.read_text())
    assert {name: len(samples) for name, samples in results["seconds"].items()} == dict.fromkeys(
        ("help", "models", "predict", "bare PyTorch", "PyTorch with timm"), 1
    )
    assert all(claim["value"]["value"] > 0 for claim in results["claims"])
    assert "`mixlab predict` of one photograph / bare PyTorch, time" in finished.stdout


@pytest.mark.long
def test_many_trainings_are_run_both_ways_in_each_round(tmp_path):
    out, benchmark = tmp_path / "results.json", BENCHMARKS / "many_trainings.py"
    settings = ["--models", "mixer_nano", "--seeds", "2", "--epochs", "1", "--rounds", "1", "--out", out]

    finished = subprocess.run([sys.executable, benchmark, *settings], capture_output=True, text=True, check=True)

    results = json.loads(out.read_text())
    assert {name: len(samples) for name, samples in results["seconds"].items()} == {"one at a time": 1, "as planned": 1}
    assert finished.stdout.count(": trained in ") == 2 * 2
    assert results["claims"][0]["value"]["value"] > 0


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "model"),
    [("unfused_attention", "davit_nano"), ("split_depthwise", "convmixer_nano"), ("fused_convmixer", "convmixer_nano")],
)
def test_a_changed_training_step_has_about_the_gradients_of_fp32(change, model, monkeypatch, tmp_path, capsys):
    out = tmp_path / "results.json"
    command = f"cpu_training.py --change {change} --model {model} --batch 4 --rounds 3 --out {out}"
    monkeypatch.setattr(sys, "argv", command.split())

    runpy.run_path(str(BENCHMARKS / "cpu_training.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert [len(samples) for samples in results["seconds"].values()] == [3, 3]
    assert 0 < results["gradient_errors"]["changed"] < 1.2 * results["gradient_errors"]["stock"] < 0.2
    assert "speed ratio, changed / stock" in capsys.readouterr().out


@pytest.mark.long
def test_probes_are_timed_beside_bare_products_and_scikit_learn(monkeypatch, tmp_path, capsys):
    out = tmp_path / "results.json"
    small = "--images 2000 --channels 32 --classes 20 --queries 50 --rounds 3"
    monkeypatch.setattr(sys, "argv", f"probes.py {small} --out {out}".split())

    runpy.run_path(str(BENCHMARKS / "probes.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert [len(samples) for samples in results["few_shot_seconds"].values()] == [3] * 3
    assert [len(samples) for samples in results["neighbours_seconds"].values()] == [3] * 3
    assert results["few_shot_peak_bytes"] > 0
    assert "Speed ratio" in capsys.readouterr().out


def test_weights_with_other_names_are_converted_by_their_order(tmp_path):
    timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    torch.manual_seed(0)
    published = timm.create_model("tf_efficientnet_lite0").eval()
    renamed = {f"_{index}.{name}": tensor for index, (name, tensor) in enumerate(published.state_dict().items())}
    torch.save(renamed, tmp_path / "published.pth", _use_new_zipfile_serialization=False)

    convert = runpy.run_path(str(BENCHMARKS / "transfer_photographs.py"))["convert"]
    convert(tmp_path / "published.pth", tmp_path / "folder")

    images = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "folder")(images), published(images))


@pytest.fixture
def label_errors(monkeypatch, tmp_path) -> dict[str, Any]:
    """The functions of the benchmark; features are cached in `tmp_path`."""
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path)
    return runpy.run_path(str(BENCHMARKS / "label_errors.py"))


@pytest.mark.parametrize(("kind", "count"), [("none", 0), ("uniform", 50), ("class-dependent", 50)])
def test_the_stated_share_of_labels_is_flipped(label_errors, kind, count):
    labels = np.arange(1000) % 10
    flipped = label_errors["ERRORS"][kind](labels, CLASSES, 0.05, np.random.default_rng(0))
    changed = np.flatnonzero(flipped != labels)
    assert len(changed) == count
    if kind == "class-dependent":
        assert np.bincount(labels[changed]).tolist() == [5] * 10
        targets = [label_errors["SIMILAR"][CLASSES[label]] for label in labels[changed]]
        assert [CLASSES[label] for label in flipped[changed]] == targets


def test_flipped_labels_are_measured_with_precision_recall_and_estimate(label_errors):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = (20 * labels[:, None, None, None] + rng.integers(0, 40, (200, 8, 8, 3))).astype(np.uint8)
    dataset = Dataset("shades", CLASSES, {"test": Split([str(index) for index in range(200)], labels, list(images))})
    run = Run(Path(__file__).parents[1] / "golden" / "google_mixer_tiny.npz")
    flips = label_errors["ERRORS"]
    cells = [label_errors["measure"](dataset, run, name, flips[name], 0.1, 0) for name in flips]
    assert [cell["true_share"] for cell in cells] == [0, 10, 10]
    for cell in cells[1:]:
        method = cell["methods"]["other class predicted"]
        found = method["selected"] * method["precision"] / 100
        assert found / 20 == pytest.approx(method["recall"] / 100)
        assert cell["methods"]["margin"]["selected"] == cell["estimated_count"]
    assert "Flipped labels of CIFAR-10" in render(label_errors["summary"](cells), "table")


@pytest.mark.long
def test_novelty_prints_and_saves_the_rates_of_each_run(monkeypatch, tmp_path, capsys):
    train = "train --data digits --model mixer_nano --set epochs=1 --set speed=off --quiet"
    for seed in (0, 1):
        with pytest.raises(SystemExit):
            main([*train.split(), "--seed", str(seed), "--out", str(tmp_path / f"{seed}")])
    command = (
        f"novelty.py {tmp_path / '0'} {tmp_path / '1'} --others digits --images 60 --out {tmp_path / 'rates.json'}"
    )
    monkeypatch.setattr(sys, "argv", command.split())

    runpy.run_path(str(BENCHMARKS / "novelty.py"), run_name="__main__")

    rates = json.loads((tmp_path / "rates.json").read_text())["%"]
    assert [one["digits"] == one["test images"] for one in rates.values()] == [True, True]
    assert "upside down" in capsys.readouterr().out


def test_feeding_has_goals_for_photographs_with_workers_only():
    feeding = runpy.run_path(str(BENCHMARKS / "feeding.py"))
    results = [
        {"images": images, "workers": workers, "speed_ratios": {"ImageFolder": 2.0}}
        for images, workers in (("500 x 375", 2), ("500 x 375", 0), ("32 x 32", 0))
    ]
    claims = feeding["claims"](results)
    assert [claim["goal"] for claim in claims] == [1.5, None, 5.0]
    assert "images of 500 x 375 pixels, 2 workers: images/s of mixlab / torchvision's ImageFolder" in claims[0]["claim"]


@pytest.mark.long
def test_training_steps_are_timed_beside_the_best_stock_mode(monkeypatch, tmp_path, capsys):
    out = tmp_path / "2026-01-01-toy.json"
    command = f"training.py --against eager --rounds 6 --out {out}"
    monkeypatch.setattr(sys, "argv", command.split())
    script = runpy.run_path(str(BENCHMARKS / "training.py"))
    goal = script["Goal"](batch=4, minimum=0.01, peak=0.6)
    monkeypatch.setitem(script["GOALS"], "cpu", {"mixer_nano": goal})
    monkeypatch.setitem(script["GOALS"], "cuda", {"mixer_nano": goal})
    script["main"]()
    results = json.loads(out.read_text())
    assert [len(row["seconds"]) for row in results["results"][0]["rows"]] == [6, 6]
    assert (results["goals"], results["peak_goals"]) == ({}, {"mixer_nano": 0.6})
    assert results["minimums"] == {"mixer_nano": 0.01}
    assert "Training of mixer_nano, batch 4" in capsys.readouterr().out
    claims = runpy.run_path(str(BENCHMARKS / "performance_page.py"))["claims_of"](out, results)
    what = f"mixer_nano, training, batch 4, {results['results'][0]['rows'][0]['precision']}"
    assert [(claim.text, claim.goal) for claim in claims] == [
        (f"{what}: images/s of mixlab / the fastest mode of stock PyTorch", None),
        (f"{what}: images/s of mixlab / the fastest mode of stock PyTorch, minimum", 0.01),
        (f"{what}: peak memory of mixlab / the fastest mode of stock PyTorch", 1.0),
        (f"{what}: fraction of the matrix peak", 0.6),
    ]


def test_the_goals_of_training_are_for_models_with_these_names():
    goals = runpy.run_path(str(BENCHMARKS / "training.py"))["GOALS"]
    assert architecture("convmixer_1024_20").config["kernel_size"] == 9
    assert all(architecture(model).parameters for of_device in goals.values() for model in of_device)


def test_the_goals_of_stored_trainings_on_a_cpu_are_those_of_the_benchmark():
    goals = runpy.run_path(str(BENCHMARKS / "training.py"))["GOALS"]["cpu"]
    stored = [json.loads(file.read_text()) for file in (BENCHMARKS / "results").glob("*-cores-training.json")]
    of_models = {result["model"]: (result["batch"], one) for one in stored for result in one["results"]}
    assert set(of_models) == set(goals)
    for model, (batch, content) in of_models.items():
        found = (batch, content["goals"][model], content["minimums"][model])
        assert found == (goals[model].batch, goals[model].ratio, goals[model].minimum)


@pytest.mark.long
def test_trainings_under_the_plan_are_compared_with_stock_ones(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MIXLAB_RUNS", str(tmp_path / "runs"))
    recipe = tmp_path / "short.toml"
    text = recipe_text("digits_convmixer").replace("epochs = 25", "epochs = 2")
    recipe.write_text(f"{text}\n[config]\nchannels = 8\ndepth = 1\n")
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["same_learning.py", str(recipe), "--seeds", "2", "--out", str(out)])

    runpy.run_path(str(BENCHMARKS / "same_learning.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert [len(results["top1"][speed]) for speed in ("auto", "off")] == [2, 2]
    assert [len(losses) for losses in results["losses"]["auto"]] == [2, 2]
    assert results["difference"]["value"] == pytest.approx(
        sum(results["top1"]["auto"]) / 2 - sum(results["top1"]["off"]) / 2
    )
    assert "p of a difference of half a point" in capsys.readouterr().out


def test_the_largest_difference_of_losses_is_in_units_of_their_spread():
    largest = runpy.run_path(str(BENCHMARKS / "same_learning.py"))["largest_loss_difference"]
    assert largest([[1.0, 2.0], [3.0, 4.0]], [[1.0, 5.0], [3.0, 7.0]]) == pytest.approx(3 / 2**0.5)


@pytest.mark.long
def test_the_price_of_activation_checkpointing_is_measured(tmp_path):
    out = tmp_path / "results.json"
    settings = ["--model", "mixer_nano", "--batch", "4", "--rounds", "3", "--out", str(out)]
    benchmark = str(BENCHMARKS / "activation_checkpointing.py")
    finished = subprocess.run([sys.executable, benchmark, *settings], capture_output=True, text=True, check=True)
    results = json.loads(out.read_text())
    assert [len(samples) for samples in results["seconds"].values()] == [3, 3]
    assert all(size > 0 for size in results["peak_bytes"].values())
    assert "speed ratio, checkpointed / plain" in finished.stdout


@pytest.mark.long
def test_serving_measures_throughput_latency_and_memory(tmp_path):
    for extra in ("fastapi", "uvicorn", "prometheus_client"):
        pytest.importorskip(extra, reason='needs the server: pip install "mixlab[serve]"')
    script = [sys.executable, str(BENCHMARKS / "serving.py")]
    small = ["mixer_nano", "--images", "4", "--clients", "2", "--out", str(tmp_path / "results.json")]

    subprocess.run([*script, "speed", *small, "--rounds", "1", "--seconds", "0.5"], check=True)
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(rate > 0 for rates in results["images_per_second"].values() for rate in rates)
    assert len(results["claims"]) == 3
    assert results["answers"] > 0

    subprocess.run([*script, "memory", *small, "--requests", "100"], check=True)
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["resident_bytes"]) == 21


@pytest.mark.long
def test_exporting_measures_the_size_the_parity_and_the_speed(monkeypatch, tmp_path, capsys):
    for module in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(module, reason=f'needs {module}: pip install "mixlab[deploy]"')
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", f"exporting.py mixer_nano --rounds 3 --out {out}".split())

    runpy.run_path(str(BENCHMARKS / "exporting.py"), run_name="__main__")

    results = json.loads(out.read_text())
    assert [len(samples) for samples in results["seconds_per_image"].values()] == [3] * 8
    assert set(results["formats"]) == {"onnx", "openvino", "torch"}
    for stored in results["formats"].values():
        assert stored["bytes"] > 4 * 100_000 and stored["parity"]["difference"] <= 1e-4
    assert "Export of mixer_nano" in capsys.readouterr().out
