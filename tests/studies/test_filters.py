"""Filters as maps: their frequency, their order, the permutation test, and filters of permuted images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.preprocess import Preprocess
from mixlab.data.rng import named_generator
from mixlab.data.transforms import Transform
from mixlab.errors import UserError
from mixlab.models.davit import mix_channels, mix_channels_florence2
from mixlab.studies import filters
from mixlab.studies.filter_maps import (
    frequencies,
    order_with_inverses,
    permuted_frequencies,
    radial_frequencies,
    smoothness_p,
)
from mixlab.studies.filters import STORED, UNPERMUTED, FiltersResult, Settings
from mixlab.studies.model_filters import channel_attention_maps, source_positions, unpermuted
from mixlab.studies.result import study_page
from mixlab.weights.adapt import Weights
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import Architecture, architecture, trust_named_code
from report.test_references import entry_keys
from studies.test_result import written

SIZE, PATCH, GRID = 24, 3, 8
PERMUTED = Transform("permute_patches_and_pixels", seed=5, patch_size=PATCH)


def cosines(count: int) -> np.ndarray:
    """Maps of 8 x 8 positions with one or two periods in a random direction and phase."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:GRID, :GRID] / GRID
    waves = rng.integers(-1, 2, size=(count, 2)) + np.array([1, 0])
    phases = rng.uniform(0, 2 * np.pi, size=count)
    return np.stack([np.cos(2 * np.pi * (a * row + b * column) + c) for (a, b), c in zip(waves, phases, strict=True)])


def model_folder(folder: Path, architecture: Architecture, model: Any, transform: Transform | None = None) -> Path:
    tensors = {name: value.detach() for name, value in model.state_dict().items()}
    weights = Weights(architecture.family, architecture.config, tensors)
    folder.mkdir()
    preprocess = Preprocess((SIZE, SIZE), transform=transform)
    write_model_folder(folder, weights, tuple(map(str, range(10))), preprocess)
    return folder


def mixer_folder(folder: Path, maps: np.ndarray, transform: Transform | None = None) -> Path:
    """A Mixer with `maps` as the token-mixing units of its only block."""
    sizes = {"image_size": SIZE, "patch_size": PATCH, "channels": 8, "channel_hidden": 8, "depth": 1}
    built = architecture("mixer_nano", token_hidden=len(maps), **sizes)
    model: Any = built.build()
    with torch.no_grad():
        model.body[0].token_mlp.first.weight.copy_(torch.from_numpy(maps).flatten(1))
    return model_folder(folder, built, model, transform)


def run(folder: Path, **settings: Any) -> FiltersResult:
    return filters.run(Settings(model=str(folder), **settings), quiet=True, log=lambda sentence: None)


@pytest.mark.parametrize(("periods", "across"), [(1, 8), (3, 8), (2, 5)])
def test_a_cosine_with_k_periods_across_n_positions_has_frequency_k_over_n(periods, across):
    maps = np.tile(np.cos(2 * np.pi * periods * np.arange(across) / across), (1, 6, 1))
    assert frequencies(maps + 4) == pytest.approx([periods / across])
    assert frequencies(maps.mT) == pytest.approx([periods / across])


def test_a_checkerboard_has_the_highest_and_a_constant_map_the_lowest_frequency():
    row, column = np.mgrid[:8, :8]
    maps = np.stack([(-1.0) ** (row + column), np.full((8, 8), 7.0)])
    assert frequencies(maps) == pytest.approx([0.5**0.5, 0])


def test_pairs_of_inverses_are_shown_by_their_frequency():
    smooth, medium, rough = (np.cos(2 * np.pi * k * np.mgrid[:8, :8][1] / 8) for k in (1, 2, 3))
    maps = np.stack([rough, -2 * smooth, 3 * medium, smooth, -rough, -medium])
    order = order_with_inverses(maps)
    assert [set(order[start : start + 2]) for start in (0, 2, 4)] == [{1, 3}, {2, 5}, {0, 4}]
    assert order_with_inverses(maps[[1, 0, 3]]).tolist() == [0, 2, 1]


def test_the_quadratic_form_of_the_permutation_test_is_the_mean_frequency():
    maps = np.random.default_rng(1).normal(size=(5, 4, 6))
    rng = named_generator("permuted frequencies", 2)
    for value in permuted_frequencies(maps, 3, seed=2):
        moved = maps.reshape(5, -1)[:, rng.permutation(24)].reshape(5, 4, 6)
        assert value == pytest.approx(frequencies(moved).mean(), abs=1e-12)


def test_over_all_permutations_the_mean_frequency_is_that_of_the_grid():
    maps = np.random.default_rng(1).normal(size=(9, 4, 6))
    expected = radial_frequencies(4, 6).sum() / 23
    assert permuted_frequencies(maps, 4000, seed=0).mean() == pytest.approx(expected, abs=0.001)


def test_smooth_maps_have_the_smallest_p_and_noise_a_uniform_one():
    assert smoothness_p(cosines(16), permuted_frequencies(cosines(16), 99, seed=0)) == 0.01
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(8, 6, 6)) for _ in range(200)]
    p = np.array([smoothness_p(maps, permuted_frequencies(maps, 39, seed=0)) for maps in noise])
    assert (p <= 0.05).sum() <= 20
    assert p.mean() == pytest.approx(0.51, abs=0.06)


def test_the_sources_of_permuted_patches_and_pixels_reproduce_the_transform():
    image = torch.randn(1, 3, SIZE, SIZE)
    sources = source_positions(PERMUTED, (SIZE, SIZE), PATCH)
    assert sources is not None
    cut = image.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).flatten(4).flatten(2, 3)
    permuted = PERMUTED(image).unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).flatten(4).flatten(2, 3)
    assert torch.equal(permuted, cut[:, :, sources[0]][..., sources[1]])


def test_a_filter_of_permuted_images_has_the_same_response_to_the_original_ones_when_it_is_unpermuted():
    image, weights = torch.randn(1, 1, GRID, GRID, dtype=torch.float64), np.random.default_rng(0).normal(size=(3, 8, 8))
    sources = source_positions(Transform("permute_patches", patch_size=1), (GRID, GRID), 1)
    assert sources is not None
    response = (weights * Transform("permute_patches", patch_size=1)(image)[0, 0].numpy()).sum(axis=(1, 2))
    arranged = unpermuted(weights, sources[0])
    assert (arranged * image[0, 0].numpy()).sum(axis=(1, 2)) == pytest.approx(response)


@pytest.mark.parametrize(
    "transform", [Transform("permute_all_pixels"), Transform("permute_patches_and_pixels", patch_size=6)]
)
def test_pixels_that_move_between_patches_have_no_sources(transform):
    assert source_positions(transform, (SIZE, SIZE), PATCH) is None


def test_the_filters_of_permuted_images_regain_their_structure_when_they_are_unpermuted(tmp_path):
    sources = source_positions(PERMUTED, (SIZE, SIZE), PATCH)
    assert sources is not None
    maps = cosines(12)
    scrambled = maps.reshape(12, -1)[:, sources[0]].reshape(maps.shape)
    result = run(mixer_folder(tmp_path / "permuted", scrambled, PERMUTED), permutations=99)
    stored, arranged = result.measured
    assert (stored.arrangement, arranged.arrangement) == (STORED, UNPERMUTED)
    assert stored.p > 0.05
    assert arranged.p == 0.01
    assert arranged.maps == pytest.approx(maps, abs=1e-6)
    assert arranged.frequency == pytest.approx(frequencies(maps), abs=1e-6)
    assert [finding.verdict for finding in result.findings()] == ["agrees"]
    assert "0 of 1 block as stored and 1 of 1 block un-permuted" in result.summary.sentence
    assert "Un-permuted: each weight" in result.figures()[-1].caption
    assert "as stored, and as arranged for the original images" in result.methods


def test_the_result_has_a_page_tables_and_json(tmp_path):
    result = run(mixer_folder(tmp_path / "plain", cosines(12)), permutations=19, units=4)
    html = study_page(result).html()
    assert html.count("<img") == 2
    assert "4 of 12 filters" in html
    assert [row["p"] for row in result.tables()[0].rows] == [0.05]
    assert any("not a confidence interval" in note for note in result.tables()[0].notes)
    stored = written(result, tmp_path)
    assert sorted(stored["blocks"][0]["order"]) == list(range(12))
    (finding,) = result.findings()
    assert (finding.verdict, finding.claim.unit) == ("undecided", "periods per position")  # p = 0.05 with 19
    assert stored["findings"][0]["verdict"] == "undecided"
    assert "the mean frequency of the filters of a block (token-mixing units of 1 block, n = 12)" in result.methods
    assert "19 random permutations of the positions" in result.methods and "Holm's method" in result.methods
    assert entry_keys(result.bibtex) == ["mixlab", "pytorch", "mixer", "permutationp", "holm"]
    assert "19 random permutations of the positions" in html and "@article{permutationp," in html
    assert (stored["methods"], stored["bibtex"]) == (result.methods, result.bibtex)


def test_a_convmixer_shows_its_kernels(tmp_path):
    built = architecture("convmixer_nano", depth=2, channels=8, kernel_size=3)
    result = run(model_folder(tmp_path / "made", built, built.build()), permutations=19)
    assert [(each.block, each.maps.shape) for each in result.measured] == [
        ("block 1", (8, 3, 3)),
        ("block 2", (8, 3, 3)),
    ]
    assert study_page(result).html().count("<img") == 3


def my_folder(folder: Path, name: str, transform: Transform | None = None) -> tuple[Path, Any]:
    """The weights of your own model, and the model, with smooth units in its first token MLP if it has one."""
    trust_named_code(name)
    built = architecture(name, classes=10)
    model: Any = built.build()
    if hasattr(model.body[0], "mixer"):
        weight = model.body[0].mixer.token_mlp.first.weight
        maps = cosines(len(weight))
        if transform is not None:
            sources = source_positions(transform, (32, 32), 4)
            assert sources is not None
            maps = maps.reshape(len(maps), -1)[:, sources[0]].reshape(maps.shape)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(maps).flatten(1))
    return model_folder(folder, built, model, transform), model


def test_your_own_block_shows_its_token_mixing_units_and_its_kernels(tmp_path, my_mixer):
    folder, model = my_folder(tmp_path / "own", my_mixer)
    result = run(folder, permutations=199, blocks="1,6")
    blocks = [f"block {number}" for number in range(1, 7)]
    assert [(each.kind, each.block) for each in result.measured] == [
        *(("token-mixing units", block) for block in blocks),
        *(("depthwise kernels", block) for block in blocks),
    ]
    units, kernels = result.measured[0], result.measured[6]
    assert units.maps == pytest.approx(cosines(64), abs=1e-6)
    assert np.array_equal(kernels.maps, model.body[0].local.weight.detach().double().numpy()[:, 0])
    assert [table.title for table in result.tables()] == [
        "Smoothness of the token-mixing units",
        "Smoothness of the depthwise kernels",
    ]
    assert [(figure.title, len(figure.panels)) for figure in result.figures()[:2]] == [
        ("Token-mixing units", 2),
        ("Depthwise kernels", 2),
    ]
    assert result.p_holm[0] == pytest.approx(12 * 0.005)  # of 12 claims
    assert len(result.findings()) == 12
    assert "The depthwise kernels of" in result.summary.sentence
    assert "(token-mixing units of 6 blocks, n = 64; depthwise kernels of 6 blocks, n = 64)" in result.methods
    assert study_page(result).html().count("<img") == 5
    assert {each["filters"] for each in written(result, tmp_path)["blocks"]} == {units.kind, kernels.kind}


def test_only_the_units_over_all_patches_are_unpermuted(tmp_path, my_mixer):
    permuted = Transform("permute_patches_and_pixels", seed=5, patch_size=4)
    folder, _ = my_folder(tmp_path / "own", my_mixer, permuted)
    result = run(folder, permutations=199)
    assert [(each.kind, each.arrangement) for each in result.measured[::6]] == [
        ("token-mixing units", STORED),
        ("depthwise kernels", STORED),
        ("token-mixing units", UNPERMUTED),
    ]
    assert result.measured[12].maps == pytest.approx(cosines(64), abs=1e-6)
    assert result.measured[12].p == 0.005 < 0.05 < result.measured[0].p
    assert [result.claimed[index] for index in (0, 6, 12)] == [False, True, True]
    assert result.p_holm[12] == pytest.approx(12 * 0.005)
    assert len(result.findings()) == 12
    assert "un-permuted. The depthwise kernels of" in result.summary.sentence


def test_layers_over_the_places_are_found_by_their_inputs_and_named_in_a_block_with_several(tmp_path, gated):
    folder, model = my_folder(tmp_path / "own", gated)
    result = run(folder, permutations=19)
    assert [each.block for each in result.measured] == ["block 1, gate.places", "block 1, transposed"]
    without_class_token = model.body[0].gate.places.weight.detach().double().numpy()[:, 1:]
    assert np.array_equal(result.measured[0].maps, without_class_token.reshape(17, 4, 4))
    assert "of 2 layers" in result.summary.sentence


def test_a_davit_shows_its_channel_attention(tmp_path):
    built = architecture("davit_nano")
    result = run(model_folder(tmp_path / "made", built, built.build()))
    assert {name: maps.shape for name, maps in result.attention.items()} == {
        "stage 1, pair 1": (1, 32, 32),
        "stage 2, pair 1": (2, 32, 32),
        "stage 2, pair 2": (2, 32, 32),
    }
    assert study_page(result).html().count("<img") == 4
    assert result.summary.sentence.endswith("has channel attention in 3 blocks, and no filters over positions.")
    assert "They are computed, not estimated, so that there are no tests." in result.methods
    assert entry_keys(result.bibtex) == ["mixlab", "pytorch", "davit"]


@pytest.mark.parametrize("kind", ["davit", "florence2"])
def test_the_channel_attention_of_the_weights_is_that_of_tokens_with_uncorrelated_channels(kind):
    model: Any = architecture("davit_nano", channels=[8, 16], heads=[2, 4], channel_attention=kind).build().double()
    block = model.body[0].blocks[1]
    for tensor in block.parameters():
        torch.nn.init.normal_(tensor, std=0.3)
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(6):  # 64 patches of a stage of 8 x 8; the rows but the first are uncorrelated, with mean 0
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    tokens = hadamard[:, 1:9] * block.attention_norm.weight + block.attention_norm.bias
    query, key, value = block.attention.query_key_value(tokens).reshape(64, 3, 2, 4).permute(1, 2, 0, 3)
    if kind == "davit":
        attention, mixed = (
            ((key * 4**-0.5).mT @ value).softmax(dim=-1),
            mix_channels(query[None], key[None], value[None]),
        )
        applied = query @ attention.mT
    else:
        attention = ((query * 64**-0.5).mT @ key).softmax(dim=-1)
        mixed, applied = mix_channels_florence2(query[None], key[None], value[None]), value @ attention.mT
    assert torch.allclose(mixed[0], applied)
    maps = channel_attention_maps(model)["stage 1, pair 1"]
    assert maps == pytest.approx(attention.detach().numpy(), abs=1e-12)


def test_models_without_filters_and_blocks_out_of_range_are_refused(tmp_path):
    folder = mixer_folder(tmp_path / "plain", cosines(12))
    with pytest.raises(UserError, match="--blocks 2 is not valid: give numbers from 1 to 1"):
        run(folder, blocks="2")
    attention = architecture("variant:attention_mixer", **architecture("mixer_nano").config)
    with pytest.raises(UserError, match="has no filters that this study knows: give --model with a Mixer"):
        run(model_folder(tmp_path / "attention", attention, attention.build()))
    vit = architecture("vit_nano", depth=1)
    with pytest.raises(UserError, match="Filters are defined for Mixers, ConvMixers, DaViTs and your own models"):
        run(model_folder(tmp_path / "vit", vit, vit.build()))
