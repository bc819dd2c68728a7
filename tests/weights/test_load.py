"""`load`: the authors' weights give the authors' logits; what a file does not say is said, asked for, or refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mixlab.errors import UserError
from mixlab.weights import load as module
from mixlab.weights.formats import formats
from mixlab.zoo.architecture import create_model

load: Any = module.load  # of a family that a test knows and the type checker does not

GOLDEN = Path(__file__).parents[1] / "golden"
GOLDENS: Mapping[str, Mapping[str, Any]] = {
    "google_mixer_tiny.npz": {},
    "locuslab_convmixer_tiny.pth.tar": {},
    "msft_davit_tiny.pth.tar": {"heads": (1, 2, 4, 8), "window": 4},
}
SMALL: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "mixer": ("mixer_nano", {"channels": 8, "token_hidden": 4, "channel_hidden": 8, "depth": 2}),
    "convmixer": ("convmixer_nano", {"channels": 8, "depth": 2}),
    "davit": ("davit_nano", {"channels": (32, 64), "depths": (1, 1), "heads": (1, 2)}),
}


def small(family: str, **fields: Any) -> Any:
    """With random values everywhere: fresh norms and zero heads would hide a mistake."""
    name, config = SMALL[family]
    torch.manual_seed(0)
    model = create_model(name, **{"classes": 3, **config, **fields}).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    return model


def saved(path: Path, model: Any, format: str) -> Path:
    """As a file in `format`, of safetensors or, for flax, numpy."""
    table = formats()[format]
    numbers = {"depth": getattr(model.config, "depth", 0), "stages": len(getattr(model.config, "depths", ()))}
    tensors = {
        table.theirs(name, numbers): table.into_file(tensor).contiguous() for name, tensor in model.state_dict().items()
    }
    if "flax" in table.layout:
        np.savez(path.with_suffix(".npz"), **{name: tensor.numpy() for name, tensor in tensors.items()})  # pyright: ignore
        return path.with_suffix(".npz")
    save_file(tensors, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def images_and_logits(file: str) -> tuple[Tensor, Tensor]:
    with np.load(GOLDEN / f"{file.partition('.')[0]}.io.npz") as golden:
        images = golden["images_nchw"] if "images_nchw" in golden else golden["images_nhwc"].transpose(0, 3, 1, 2)
        return torch.from_numpy(images.copy()), torch.from_numpy(golden["logits"])


@pytest.mark.parametrize("file", GOLDENS)
def test_the_authors_weights_give_the_authors_logits(file):
    model = load(GOLDEN / file, **GOLDENS[file])
    images, logits = images_and_logits(file)
    with torch.no_grad():
        difference = (model(images) - logits).abs().max() / logits.abs().max()
    assert difference < 1e-5
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_heads_that_channels_do_not_tell_are_asked_for():
    with pytest.raises(UserError, match=r"16, 32, 64, 128 channels.*Give heads=\(\.\.\.\).*window="):
        load(GOLDEN / "msft_davit_tiny.pth.tar")


@pytest.mark.parametrize("format", [name for name in formats() if name != "florence2"])
def test_every_format_is_read_strictly_and_exactly(tmp_path, format):
    model = small(formats()[format].family)
    fields = {"head_order": "pool-norm", "stem_padding": "symmetric"} if format == "mmpretrain_davit" else {}
    again = load(saved(tmp_path / "w", model, format), **fields)
    expected = model.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


def test_florence_2_s_tower_is_taken_out_of_the_whole(tmp_path, caplog):
    model = small("davit", classes=0, channel_attention="florence2", head_order="pool", merge_kernel=3)
    table = formats()["florence2"]
    tensors = {table.theirs(name, {}): tensor for name, tensor in model.state_dict().items()}
    save_file(tensors | {"language_model.x": torch.ones(2)}, tmp_path / "w.safetensors")
    again = load(tmp_path / "w.safetensors", window=4)
    assert (again.config.channel_attention, again.config.head_order, again.config.merge_kernel) == (
        "florence2",
        "pool",
        3,
    )
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(images), small_like(model, window=4)(images))
    assert "1 tensors of other parts are left out" in caplog.text


def small_like(model: Any, **fields: Any) -> Any:
    """The same weights with other fields of the config."""
    from dataclasses import asdict

    from mixlab.zoo.architecture import build

    other = build("davit", asdict(model.config) | fields).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_the_dense_backbones_keep_their_norms(tmp_path):
    model = small("davit", classes=0, head_order="norms-pool")
    again = load(saved(tmp_path / "w", model, "davit"))
    assert again.config.head_order == "norms-pool"
    assert again.config.classes == 0


def test_big_vision_s_old_tree_is_read_with_its_old_numbers_and_axes_of_one(tmp_path):
    model = small("mixer", depth=11)
    table = formats()["big_vision_legacy"]
    arrays = {}
    for name, tensor in model.state_dict().items():
        theirs = table.theirs(name, {}).replace("LayerNorm_1", "LayerNorm_3")
        array = table.into_file(tensor).numpy()
        arrays[theirs] = array[None] if "kernel1" in theirs else array
    np.savez(tmp_path / "w.npz", **arrays)
    again = load(tmp_path / "w.npz")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("format", "gelu", "epsilon"),
    [("google", "tanh", 1e-6), ("timm_mixer", "erf", 1e-6), ("mmpretrain_mixer", "erf", 1e-5)],
)
def test_what_a_mixer_s_file_does_not_say_is_its_format_s_and_said(tmp_path, caplog, format, gelu, epsilon):
    path = saved(tmp_path / "w", small("mixer"), format)
    model = load(path)
    assert (model.config.gelu, model.config.epsilon, model.config.image_size) == (gelu, epsilon, 32)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"gelu='{gelu}', epsilon={epsilon}, image_size=32" in line
    caplog.clear()
    assert load(path, gelu="tanh", epsilon=1e-4, image_size=32).config.gelu == "tanh"
    assert "gelu" not in caplog.text


@pytest.mark.parametrize(("kernel", "activation"), [(7, "relu"), (9, "gelu")])
def test_the_one_convmixer_that_was_trained_with_relu_is_known_by_its_sizes(tmp_path, caplog, kernel, activation):
    model = small("convmixer", channels=768, depth=32, patch_size=7, kernel_size=kernel, image_size=32)
    assert load(saved(tmp_path / "w", model, "convmixer")).config.activation == activation
    assert f"activation='{activation}'" in caplog.text


def test_patches_that_fill_no_square_ask_for_the_image_s_size(tmp_path):
    path = saved(tmp_path / "w", small("mixer", image_size=(16, 32)), "timm_mixer")
    with pytest.raises(UserError, match=r"no square: give image_size=\(height, width\)"):
        load(path)
    assert load(path, image_size=(16, 32)).config.image_size == (16, 32)


def test_mmpretrain_s_davit_is_refused_unless_its_function_is_asked_for(tmp_path):
    model = small("davit")
    path = saved(tmp_path / "w", model, "mmpretrain_davit")
    for fields in ({}, {"head_order": "norm-pool"}, {"stem_padding": "same"}):
        with pytest.raises(UserError, match=r'another function.*head_order="norm-pool" and stem_padding="same"'):
            load(path, **fields)
    images = torch.rand(2, 3, 32, 32)
    theirs = load(path, head_order="norm-pool", stem_padding="same")
    assert torch.equal(theirs(images), small_like(theirs)(images))
    assert not torch.allclose(theirs(images), model(images))


def test_weights_of_half_precision_come_as_fp32(tmp_path):
    model = small("mixer")
    save_file({name: tensor.bfloat16() for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    again = load(tmp_path / "w.safetensors")
    assert torch.equal(again.head.weight, model.head.weight.bfloat16().float())


def test_weights_of_whole_numbers_are_refused(tmp_path):
    tensors = {name: tensor.to(torch.int8) for name, tensor in small("mixer").state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"stem\.weight as torch\.int8, where weights are floating-point"):
        load(tmp_path / "w.safetensors")


def test_another_number_of_classes_gets_a_new_head_that_is_said(tmp_path, caplog):
    path = saved(tmp_path / "w", small("davit"), "mixlab_davit")
    caplog.clear()
    model = load(path, classes=7)
    assert model.head.weight.shape == (7, 64)
    assert not model.head.weight.any()
    assert "A new head for 7 classes starts at zero, in place of the one for 3" in caplog.text
    assert isinstance(load(path, classes=0).head, torch.nn.Identity)


def missing(tensors: dict[str, Tensor]) -> None:
    del tensors["blocks.1.mlp_tokens.fc1.bias"]


def spare(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.1.scale"] = torch.ones(1)


def misshapen(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.1.norm1.weight"] = torch.ones(9)


def another_head(tensors: dict[str, Tensor]) -> None:
    tensors["head.weight"] = torch.ones(3, 9)


def without_a_stem(tensors: dict[str, Tensor]) -> None:
    del tensors["stem.proj.weight"]


def with_an_oblong_stem(tensors: dict[str, Tensor]) -> None:
    tensors["stem.proj.weight"] = torch.ones(8, 3, 4, 5)


def with_a_vast_number(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.999999999.norm1.weight"] = torch.ones(8)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (missing, r"only in the model: body\.1\.token_mlp\.first\.bias\. "),
        (spare, r"only in the file: blocks\.1\.scale\. "),
        (misshapen, r"of other shapes \(file, model\): blocks\.1\.norm1\.weight \(9,\), \(8,\)"),
        (another_head, r"head\.weight \(3, 9\), \(3, 8\)"),
        (without_a_stem, r"has no stem\.proj\.weight, where a mixer needs \(channels, image_channels, patch, patch\)"),
        (with_an_oblong_stem, r"has stem\.proj\.weight of the shape \(8, 3, 4, 5\)"),
        (with_a_vast_number, "only in the model"),
    ],
)
def test_a_tensor_that_does_not_fit_lists_both_sides(tmp_path, broken, words):
    model = small("mixer")
    table = formats()["timm_mixer"]
    tensors = {table.theirs(name, {}): tensor for name, tensor in model.state_dict().items()}
    broken(tensors)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=words):
        load(tmp_path / "w.safetensors")


def test_the_list_of_misfits_counts_block_10_after_block_9(tmp_path):
    model = small("mixer", depth=11)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if "token_norm.weight" not in name}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"body\.0\.token_norm.*body\.2\..*body\.7\.token_norm.weight and 3 more"):
        load(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mixer_b16", r"published weights are mixer_b16\.goog_in1k, .* create_model gives it fresh ones"),
        ("mixer_h14", r"no weights of this size were ever published; create_model gives it fresh ones"),
        ("mixer_b16.goog_in2k", r'Did you mean "mixer_b16\.goog_in2?1k'),
        ("nowhere/else", "give the folder that mixlab train printed.*hub:owner/name, or a file"),
    ],
)
def test_a_source_that_is_none_is_said_with_what_is(source, words):
    with pytest.raises(UserError, match=words):
        load(source)


def test_a_patch_size_for_a_davit_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"patch_size=8 can't be given to a DaViT"):
        load(saved(tmp_path / "w", small("davit"), "davit"), patch_size=8)


def test_a_resize_for_a_model_of_any_size_is_refused(tmp_path):
    with pytest.raises(UserError, match=r'resize="exact" is for a Mixer'):
        load(saved(tmp_path / "w", small("convmixer"), "convmixer"), image_size=64, resize="exact")


@pytest.mark.parametrize(
    ("image_size", "window", "said"), [(448, 7, "stays"), (384, 12, "from 7 to 12"), (200, 7, "padded")]
)
def test_a_davit_s_window_at_another_size_is_whole_where_it_can_be(tmp_path, caplog, image_size, window, said):
    model = small("davit", channels=(32, 32, 32, 32), depths=(1, 1, 1, 1), heads=(1, 1, 1, 1))
    assert load(saved(tmp_path / "w", model, "davit"), image_size=image_size).config.window == window
    assert said in caplog.text


def test_a_window_that_is_given_is_taken(tmp_path):
    model = load(saved(tmp_path / "w", small("davit"), "davit"), image_size=384, window=8)
    assert (model.config.window, model.config.image_size) == (8, 384)


def test_an_unknown_field_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r'"windw" is no field of a DaViT.*Did you mean "window"'):
        load(saved(tmp_path / "w", small("davit"), "davit"), windw=8)
