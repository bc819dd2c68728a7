"""`mixlab benchmark`: its JSON, its page, and its mistakes. The measurement itself is in tests/benchmark."""

import json
from pathlib import Path

import pytest

from mixlab.benchmark import benchmark as measuring
from mixlab.benchmark import forms, paper_speeds, peers
from mixlab.zoo import paper

ROW_KEYS = {"name", "images_per_second", "low", "high", "precision", "layout", "peak_bytes"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes for the memory, no matrix products for the peak, and a stock plan instead of a search."""
    monkeypatch.setattr(measuring, "peak_memory", lambda form: 2**20)
    monkeypatch.setattr(measuring, "matrix_product_peak", lambda device, dtype: 1e12)
    monkeypatch.setattr(
        measuring,
        "mixlab_form",
        lambda architecture, device, batch, task, log: forms.stock_forms("mixlab", architecture, device, batch, task)[
            0
        ],
    )


def test_json_is_a_list_with_rows_and_ratios_for_each_model(run, quick):
    ended = run("benchmark", "mixer_nano", "convmixer_nano", "--against", "eager", "--rounds", "6", "--format", "json")
    assert ended.status == 0, ended.err
    results = json.loads(ended.out)
    assert [result["model"] for result in results] == ["mixer_nano", "convmixer_nano"]
    for result in results:
        assert result["device"]
        assert [row["name"] for row in result["rows"]] == ["mixlab", "eager"]
        assert all(row.keys() >= ROW_KEYS for row in result["rows"])
        assert result["ratios"].keys() == {"best_stock", "timm"}
        assert result["ratios"]["best_stock"] > 0 and result["ratios"]["timm"] is None


def test_a_table_states_the_conditions_and_the_folder_has_a_page_and_all_samples(run, quick):
    ended = run(
        *("benchmark", "mixer_nano", "--train", "--against", "eager,timm", "--batch", "2,4", "--rounds", "6"),
        *("--out", "speed"),
    )
    assert ended.status == 0, ended.err
    assert "Training of mixer_nano, batch 2" in ended.out and "Training of mixer_nano, batch 4" in ended.out
    assert "2 calls of each peer are not timed, then the peers take turns for 6 rounds" in ended.out
    assert "thread" in ended.out and "of peak (%)" in ended.out
    record = json.loads(Path("speed/results.json").read_text())
    assert [(result["task"], result["batch"]) for result in record["results"]] == [("training", 2), ("training", 4)]
    assert all(len(row["seconds"]) == 6 for result in record["results"] for row in result["rows"])
    assert "Speed of mixer_nano" in Path("speed/report.html").read_text()


def test_a_run_is_measured_with_its_own_config(run, quick, trained):
    ended = run("benchmark", trained, "--against", "eager", "--rounds", "6", "--format", "json")
    assert ended.status == 0, ended.err
    (result,) = json.loads(ended.out)
    assert result["parameters"] < 5_000  # one block of 8 channels


def test_published_weights_are_not_downloaded(run, quick, monkeypatch):
    monkeypatch.setattr("mixlab.weights.source.download", None)
    ended = run("benchmark", "mixer_s32.gsam_in1k", "--against", "eager", "--rounds", "6", "--batch", "1")
    assert ended.status == 0, ended.err


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ((), ["needs at least one MODEL", "--paper"]),
        (("miyer_nano",), ['"miyer_nano"', '"mixer_nano"?']),
        (("mixer_nano", "--against", "eagr"), ['--against eagr: there is no peer "eagr"', '"eager"?']),
        (("mixer_nano", "--against", "openvino", "--train"), ["openvino can't train", "leave it out"]),
        (("mixer_nano", "--batch", "many"), ["--batch many is not a number of images", "8"]),
        (("mixer_nano", "--batch", "0"), ["--batch 0 is too small: give at least 1"]),
        (("mixer_nano", "--rounds", "2"), ["--rounds 2 is too small", "6"]),
        (("mixer_nano", "--device", "tpu"), ['device "tpu" is not available']),
        (("mixer_nano", "--paper"), ["--paper measures fixed models", "leave out MODEL"]),
        (("--paper", "--batch", "4"), ["--paper measures fixed models in fixed batches", "--batch"]),
        (("--paper", "--rounds", "9"), ["--paper measures fixed models in fixed batches", "--rounds"]),
        (("timm:resnet18:num_classes=0", "--train"), ["num_classes=0 is not a classifier of RGB images", "leave out"]),
        (("mixer_nano", "timm:resnet18:in_chans=1", "--train"), ["in_chans=1 is not a classifier of RGB images"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_mistakes_are_sentences(refused, words, pieces):
    message = refused("benchmark", *words)
    assert all(piece in message for piece in pieces), message


def test_a_missing_package_of_a_peer_is_named_with_the_command_that_installs_it(refused, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    message = refused("benchmark", "mixer_nano", "--against", "onnxruntime")
    assert 'onnxruntime needs onnxruntime, onnx, onnxscript: pip install "mixlab[deploy]"' in message


def test_the_papers_are_measured_and_resumed(run, monkeypatch):
    """One model instead of all; the second call measures nothing."""
    monkeypatch.setattr(paper_speeds, "_MACS_PER_CALL", 1e9)
    monkeypatch.setattr(paper_speeds, "matrix_product_peak", lambda device, dtype: 1e12)
    rows = [row for row in paper.paper_rows() if row.printed["model"] in ("Mixer-S/32", "ViL-Small")]
    monkeypatch.setattr(paper, "paper_rows", lambda: rows)
    first = run("benchmark", "--paper", "--out", "papers")
    assert first.status == 0, first.err
    assert "1 model will be measured, for about" in first.err
    assert "images/s/TPUv3-core" in first.out and "in no library" in first.out
    again = run("benchmark", "--paper", "--out", "papers", "--format", "json")
    assert again.err.splitlines() == ["Report: papers/report.html"]
    stored = json.loads(again.out)
    assert [(row["model"], row["reason"]) for row in stored["rows"]] == [
        ("Mixer-S/32", None),
        ("ViL-Small", "in no library"),
    ]
    assert stored["summary"] == "1 of the 2 rows of the papers' tables were measured here."
    titles = [table["title"] for table in stored["tables"]]
    assert titles[0] == "Agreement of the orders" and len(titles) == 3
    assert Path("papers/report.html").is_file()


def test_the_papers_do_not_replace_another_report(refused):
    Path("speed").mkdir()
    Path("speed/results.json").write_text("{}")
    assert "--out speed already exists" in refused("benchmark", "--paper", "--out", "speed")


def test_csv_is_one_table_of_rows_and_nothing_is_measured_twice(run, quick):
    words = ("mixer_nano", "mixer_nano", "--batch", "1,2,1", "--against", "eager", "--rounds", "6", "--format", "csv")
    ended = run("benchmark", *words, "--quiet")
    rows, _ = ended.out.split("\n\n")
    assert rows.startswith("model,task,batch,name,images_per_second,")
    first = [row.split(",")[:4] for row in rows.splitlines()[1:]]
    assert first == [["mixer_nano", "inference", batch, name] for batch in "12" for name in ("mixlab", "eager")]


@pytest.mark.long
def test_the_whole_command_measures_memory_and_the_peak(run):
    ended = run("benchmark", "mixer_nano", "--against", "eager", "--rounds", "6", "--format", "json")
    assert ended.status == 0, ended.err
    (result,) = json.loads(ended.out)
    assert all(2**26 < row["peak_bytes"] < 2**32 for row in result["rows"])
    assert all(0 < row["fraction_of_peak"] < 1.5 for row in result["rows"])
