"""The cost of models by number of patches: the figures of the specification, and the study's tables and claims."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch

from mixlab.errors import UserError
from mixlab.stats.polynomial import exact_quadratic
from mixlab.studies import cost
from mixlab.studies.cost import Settings, patches_of
from mixlab.studies.cost_result import FIXED_PATCHES, MORE_PATCHES, WIDENED, CostResult
from mixlab.studies.result import study_page
from mixlab.zoo.architecture import Architecture, architecture
from report.test_references import entry_keys
from studies.test_result import written

SIZES = (112, 224, 448, 896)


def fixed_times(calls: Mapping[str, object], rounds: int, warmup: int, sample_seconds: float) -> dict[str, list[float]]:
    return {name: [0.001 * (place + 1 + turn) for turn in range(rounds)] for place, name in enumerate(calls)}


@pytest.fixture(scope="module")
def result() -> Iterator[CostResult]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "interleaved", fixed_times)
        yield cost.run(Settings(largest=3, batch=1, rounds=3), quiet=True, log=lambda sentence: None)


def counted(name: str, sizes: tuple[int, ...], **fields: Any) -> list[tuple[int, int]]:
    built = [architecture(name, image_size=size, **fields) for size in sizes]
    return [(patches_of(one), one.macs) for one in built]


def quadratic(result: CostResult, name: str) -> Fraction:
    terms = result.macs_terms()[name]
    assert terms is not None
    return terms[2]


def test_macs_of_mixer_b16_are_exactly_linear_in_the_number_of_patches():
    points = counted("mixer_b16", SIZES)
    assert [round(macs / 1e9, 3) for _, macs in points] == [3.151, 12.602, 50.405, 201.617]
    assert [patches for patches, _ in points] == [49, 196, 784, 3136]
    terms = exact_quadratic(points)
    assert terms is not None and terms[2] == 0
    assert terms[0] == 768 * 1000  # only the head does not depend on the number of patches


def test_parameters_of_mixer_b16_grow_slightly_with_the_number_of_patches():
    parameters = [architecture("mixer_b16", image_size=size).parameters for size in SIZES]
    assert [round(count / 1e6, 2) for count in parameters] == [58.52, 59.88, 65.31, 87.01]


def test_macs_of_mixers_with_a_hidden_width_that_grows_are_quadratic():
    for name, hidden, ratio in (("mixer_b16", 384, 5.32), ("mixer_l16", 512, 5.33)):
        macs = architecture(name, image_size=448, token_hidden=4 * hidden).macs
        assert round(macs / architecture(name).macs, 2) == ratio


def test_macs_of_vit_b16_are_quadratic():
    points = counted("timm:vit_base_patch16_224", (224, 448, 896))
    macs = [macs for _, macs in points]
    assert [round(value / 1e9, 2) for value in macs] == [17.56, 78.50, 449.68]
    assert [round(macs[place + 1] / macs[place], 2) for place in (0, 1)] == [4.47, 5.73]
    terms = exact_quadratic(points)
    assert terms is not None and terms[2] == 2 * 12 * 768  # queries with keys, and attention with values


def test_macs_of_davit_and_convmixer_are_linear_where_windows_need_no_padding():
    small, large = architecture("davit_tiny").macs, architecture("davit_tiny", image_size=448).macs
    assert [round(macs / 1e9, 3) for macs in (small, large)] == [4.522, 18.085]
    for name, sizes in (("davit_nano", (32, 64, 96)), ("convmixer_nano", (32, 64, 128))):
        terms = exact_quadratic(counted(name, sizes))
        assert terms is not None and terms[2] == 0


def test_the_study_finds_which_macs_are_quadratic(result):
    terms = result.macs_terms()
    zero = {name for name, found in terms.items() if found is not None and found[2] == 0}
    assert zero == {"mixer_nano", "convmixer_nano", "davit_nano"}
    assert quadratic(result, f"mixer_nano {WIDENED}") == 2 * 6 * 64  # two layers, 6 blocks, 64 channels; D_S = S
    assert quadratic(result, "vit_nano") == 2 * 5 * 64
    assert result.summary.sentence == (
        "The multiply-accumulates are exactly linear in the number of patches for mixer_nano, convmixer_nano and "
        f"davit_nano, and quadratic for mixer_nano {WIDENED} and vit_nano."
    )


def test_with_larger_patches_only_the_stem_grows(result):
    for name, line in result.series(FIXED_PATCHES).items():
        assert {point.patches for point in line} == {64}
        channels = 160 if name == "convmixer_nano" else 64
        assert line[1].macs - line[0].macs == 3 * (8**2 - 4**2) * channels * 64
        assert line[1].parameters - line[0].parameters == 3 * (8**2 - 4**2) * channels
    assert "davit_nano" not in result.series(FIXED_PATCHES)
    assert "The patch size of davit_nano is fixed" in result.notes[0]


def test_memory_is_linear_in_the_number_of_patches(result):
    """At the peak, a Mixer and a ViT hold four tensors of 64 channels, and two of 256: before and after GELU."""
    lines = result.series(MORE_PATCHES)
    for line in lines.values():
        first = line[0].memory_bytes / line[0].patches
        assert [point.memory_bytes for point in line] == pytest.approx([first * point.patches for point in line], 0.01)
    for name in ("mixer_nano", "vit_nano"):
        assert [point.memory_bytes for point in lines[name]] == [
            4 * (4 * 64 + 2 * 256) * point.patches for point in lines[name]
        ]


def test_memory_with_unfused_attention_includes_all_scores_and_their_softmax(result):
    for name, line in result.series(MORE_PATCHES).items():
        if name == "vit_nano":
            heads = architecture("vit_nano").config["arguments"]["num_heads"]
            assert all(point.unfused_memory_bytes > 4 * 2 * heads * point.patches**2 for point in line)
            assert line[2].unfused_memory_bytes > 4 * line[1].unfused_memory_bytes
        else:
            assert all(point.unfused_memory_bytes == point.memory_bytes for point in line)


def test_memory_of_another_device_is_measured_on_the_cpu(monkeypatch):
    devices = []

    def memory(built: Architecture, device: torch.device) -> tuple[int, int]:
        devices.append(device.type)
        return 1, 1

    monkeypatch.setattr(cost.machine, "pick_device", lambda: torch.device("meta"))
    monkeypatch.setattr(cost.machine, "device_name", str)
    monkeypatch.setattr(cost, "interleaved", fixed_times)
    monkeypatch.setattr(cost, "_memory", memory)
    made = cost.run(Settings(models=("convmixer_nano",), rounds=2), quiet=True, log=lambda sentence: None)
    assert set(devices) == {"cpu"}
    assert made.notes == ("Memory is measured on the CPU, because PyTorch does not record it on meta.",)


def test_the_claim_compares_the_quadratic_share_of_the_times_of_every_round(result):
    patches = [64, 256, 576]
    terms = {"vit_nano": (0, 1, 0.01), "mixer_nano": (0, 1, 0)}

    def time(name: str, count: int, factor: float) -> float:
        constant, linear, quadratic = terms[name]
        return factor * (constant + linear * count + quadratic * count**2)

    points = tuple(
        replace(point, milliseconds=tuple(time(point.series, point.patches, factor) for factor in (1, 1.3, 1.1)))
        for point in result.points
        if point.series in terms and point.sweep == MORE_PATCHES
    )
    made = replace(result, points=points)
    share = 100 * 0.01 * patches[-1] / (1 + 0.01 * patches[-1])
    assert made.quadratic_share("vit_nano") == pytest.approx([share] * 3)
    assert made.quadratic_share("mixer_nano") == pytest.approx([0] * 3, abs=1e-9)
    (finding,) = made.findings()
    assert finding.claim.contrast == ("quadratic share of vit_nano", "quadratic share of mixer_nano")
    assert finding.difference is not None
    assert finding.difference.value == pytest.approx(share)


def test_the_result_has_a_page_and_json(result, tmp_path):
    html = study_page(result).html()
    assert html.count('<svg class="panel"') == 10
    assert len(result.to_dict()["points"]) == 3 * 5 + 3 * 3
    stored = written(result, tmp_path)
    assert (stored["methods"], stored["bibtex"]) == (result.methods, result.bibtex)


def test_methods_say_what_is_counted_and_what_is_measured(result):
    assert "Multiply-accumulates and parameters were counted and are exact" in result.methods
    assert "is the measured peak of what it takes from PyTorch's allocator" in result.methods
    assert "Forward passes of 1 image in eager fp32 were timed in 3 rounds" in result.methods
    assert "order statistics" not in result.methods  # three rounds are too few
    assert "1 claim of a direction was tested" in result.methods and "(n = 3)" in result.methods
    assert result.methods.endswith(f" on {result.environment['device']}.")
    keys = ["mixlab", "pytorch", "mixer", "vit", "timm", "convmixer", "davit", "student"]
    assert sorted(entry_keys(result.bibtex)) == sorted(keys)


def test_without_claims_no_test_is_named(result):
    made = replace(result, points=tuple(point for point in result.points if "vit" not in point.series))
    assert "t test" not in made.methods and "@article{student," not in made.bibtex


def test_a_caption_names_what_its_panels_show_and_which_lines_coincide(result):
    more, larger = result.figures()
    for figure in (more, larger):
        assert figure.caption.startswith(
            "Multiply-accumulates and parameters are counted; time, memory and memory with unfused attention are "
            "measured. Points with intervals at the same place are drawn side by side. Lines that differ by at most 5 "
            "%: "
        )
    assert (
        "multiply-accumulates of mixer_nano and convmixer_nano; parameters of convmixer_nano, davit_nano and vit_nano"
        in more.caption
    )
    assert "parameters of mixer_nano and vit_nano; memory of mixer_nano and vit_nano" in larger.caption
    assert more.html().count("</li>") == 5


def test_without_timm_the_default_leaves_out_its_model(monkeypatch):
    monkeypatch.setattr(cost, "find_spec", lambda name: None)
    names, notes = cost._installed(cost.DEFAULT)
    assert names == ["mixer_nano", "convmixer_nano", "davit_nano"]
    assert notes == ("vit_nano is left out, because timm is not installed.",)


def test_a_model_without_patches_is_refused():
    with pytest.raises(UserError, match="resnet_nano does not cut images into patches"):
        cost.run(Settings(models=("resnet_nano",)), quiet=True, log=lambda sentence: None)


def test_a_model_that_is_given_twice_is_refused():
    with pytest.raises(UserError, match="--models mixer_nano,mixer_nano has a value twice"):
        cost.run(Settings(models=("mixer_nano", "mixer_nano")), quiet=True, log=lambda sentence: None)
