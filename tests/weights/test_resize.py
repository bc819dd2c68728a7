"""Exact and approximate properties of resized token MLPs and stems."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mixlab.models.mixer import Mixer, MixerConfig
from mixlab.weights.resize import enlarge_exact, resample_token_mlps, resize_patch_kernel

GRIDS = [((3, 3), 2), ((2, 3), 2), ((2, 2), 3), ((1, 2), 3)]


def mixer(grid: tuple[int, int], **fields: Any) -> Mixer:
    """A Mixer in float64 with random values in all parameters."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"classes": 5, "channels": 6, "token_hidden": 4, "channel_hidden": 8, "depth": 3} | fields
    model = Mixer(MixerConfig(image_size=(4 * grid[0], 4 * grid[1]), patch_size=4, **sizes)).double().eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter)
    return model


def with_tensors(grid: tuple[int, int], tensors: dict[str, Tensor], **fields: Any) -> Mixer:
    model = mixer(grid, **fields)
    model.load_state_dict(tensors)
    return model


def enlarged(model: Mixer, grid: tuple[int, int], factor: int) -> Mixer:
    tensors = enlarge_exact(model.state_dict(), grid, factor)
    return with_tensors((factor * grid[0], factor * grid[1]), tensors, token_hidden=4 * factor * factor)


@pytest.mark.parametrize(("grid", "factor"), GRIDS)
def test_the_exactly_enlarged_model_is_the_mean_over_the_tiles(grid, factor):
    model = mixer(grid)
    images = torch.randn(2, 3, factor * 4 * grid[0], factor * 4 * grid[1]).double()
    tiles = [tile for row in images.chunk(factor, dim=2) for tile in row.chunk(factor, dim=3)]
    with torch.no_grad():
        expected = torch.stack([model(tile) for tile in tiles]).mean(dim=0)
        torch.testing.assert_close(enlarged(model, grid, factor)(images), expected, rtol=1e-12, atol=1e-12)


def test_the_order_of_the_paper_is_not_reading_order():
    grid, factor = (3, 3), 2
    model = mixer(grid)
    naive = dict(model.state_dict())
    for block in range(3):
        for name in ("first.weight", "second.weight"):
            key = f"body.{block}.token_mlp.{name}"
            naive[key] = torch.kron(torch.eye(4, dtype=torch.float64), naive[key])
        for name in ("first.bias", "second.bias"):
            naive[f"body.{block}.token_mlp.{name}"] = naive[f"body.{block}.token_mlp.{name}"].repeat(4)
    images = torch.randn(2, 3, 24, 24).double()
    with torch.no_grad():
        difference = with_tensors((6, 6), naive, token_hidden=16)(images) - enlarged(model, grid, factor)(images)
    assert difference.abs().max() > 0.01


@pytest.mark.parametrize(("grid", "factor"), GRIDS)
def test_the_enlarged_token_mlp_acts_on_each_tile_like_the_original(grid, factor):
    """Logits do not show this: the bias of a token is the same in all channels, and the norms remove it."""
    model = mixer(grid)
    before, after = (either.get_submodule("body.1.token_mlp") for either in (model, enlarged(model, grid, factor)))
    field = torch.randn(7, factor * grid[0], factor * grid[1]).double()

    def tiles(tokens: Tensor) -> list[Tensor]:
        return [tile.flatten(1) for row in tokens.chunk(factor, dim=1) for tile in row.chunk(factor, dim=2)]

    hidden = torch.cat([before.get_submodule("first")(tile) for tile in tiles(field)], dim=1)
    torch.testing.assert_close(after.get_submodule("first")(field.flatten(1)), hidden, rtol=1e-12, atol=1e-12)
    outputs = tiles(after(field.flatten(1)).view_as(field))
    torch.testing.assert_close(outputs, [before(tile) for tile in tiles(field)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("grid", "new"), [((3, 3), (5, 5)), ((3, 4), (4, 9)), ((2, 3), (2, 5))])
def test_hidden_units_respond_to_an_enlarged_field_like_the_original(grid, new):
    model = mixer(grid)
    tensors = resample_token_mlps(model.state_dict(), grid, new)
    field = torch.randn(7, grid[0], grid[1]).double()
    larger = F.interpolate(field[None], size=new, mode="bilinear", align_corners=False)[0]
    first, second = model.state_dict()["body.1.token_mlp.first.weight"], tensors["body.1.token_mlp.first.weight"]
    torch.testing.assert_close(larger.flatten(1) @ second.mT, field.flatten(1) @ first.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("grid", "new"), [((3, 3), (5, 5)), ((3, 4), (4, 9))])
def test_the_resampled_token_mlp_outputs_the_enlarged_field(grid, new):
    model = mixer(grid)
    larger = with_tensors(new, resample_token_mlps(model.state_dict(), grid, new))
    hidden = torch.randn(7, 4).double()
    before = model.get_submodule("body.1.token_mlp.second")(hidden).view(7, *grid)
    expected = F.interpolate(before[None], size=new, mode="bilinear", align_corners=False)[0].flatten(1)
    torch.testing.assert_close(
        larger.get_submodule("body.1.token_mlp.second")(hidden), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("new", [(5, 5), (3, 7), (6, 4)])
def test_enlarging_and_shrinking_back_restores_the_weights(new):
    before = mixer((3, 4)).state_dict()
    after = resample_token_mlps(resample_token_mlps(before, (3, 4), new), new, (3, 4))
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-12, atol=1e-12)


def test_one_axis_can_grow_while_the_other_shrinks():
    before = mixer((3, 4)).state_dict()
    resized = resample_token_mlps(before, (3, 4), (5, 2))
    again = resample_token_mlps(resample_token_mlps(resized, (5, 2), (3, 4)), (3, 4), (5, 2))
    assert resized["body.0.token_mlp.first.weight"].shape == (4, 10)
    for name, tensor in resized.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-11, atol=1e-11)


def test_resampling_to_the_same_grid_is_the_identity():
    before = mixer((3, 4)).state_dict()
    for name, tensor in resample_token_mlps(before, (3, 4), (3, 4)).items():
        torch.testing.assert_close(tensor, before[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("before", "after"), [((4, 4), (7, 7)), ((4, 5), (8, 6))])
def test_an_enlarged_stem_responds_to_a_resized_patch_like_the_original(before, after):
    weight, patch = torch.randn(6, 3, *before).double(), torch.randn(2, 3, *before).double()
    larger = F.interpolate(patch, size=after, mode="bilinear", align_corners=False)
    responses = torch.einsum("bchw,ochw->bo", larger, resize_patch_kernel(weight, after))
    torch.testing.assert_close(responses, torch.einsum("bchw,ochw->bo", patch, weight), rtol=1e-12, atol=1e-12)


def test_dtypes_are_preserved_and_other_tensors_are_not_copied():
    before = {name: tensor.bfloat16() for name, tensor in mixer((3, 3)).state_dict().items()}
    for after in (resample_token_mlps(before, (3, 3), (4, 4)), enlarge_exact(before, (3, 3), 2)):
        assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
        assert {name for name in before if after[name] is not before[name]} == {
            f"body.{block}.token_mlp.{layer}.{kind}"
            for block in range(3)
            for layer, kind in (("first", "weight"), ("first", "bias"), ("second", "weight"), ("second", "bias"))
        }
    assert resize_patch_kernel(torch.ones(1, 1, 2, 2, dtype=torch.float32), (3, 3)).dtype == torch.float32
