"""`load`: logits equal those of the authors, and unknown config fields have a logged default or raise an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.weights import load as module
from mixlab.weights.adapt import Weights
from mixlab.weights.formats import formats
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture, create_model

load: Any = module.load  # the type checker does not know the family

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
    """A model with random values in all tensors: default norms and zero heads would hide errors."""
    name, config = SMALL[family]
    torch.manual_seed(0)
    model = create_model(name, **{"classes": 3, **config, **fields}).eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    return model


def saved(path: Path, model: Any, format: str) -> Path:
    """Saves a model as a file in `format`: safetensors, or .npz for flax."""
    table = formats()[format]
    counts = {"depth": getattr(model.config, "depth", 0), "stages": len(getattr(model.config, "depths", ()))}
    tensors = {
        table.to_file_name(name, counts): table.to_file(tensor).contiguous()
        for name, tensor in model.state_dict().items()
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
def test_weights_of_the_authors_have_the_logits_of_the_authors(file):
    model = load(GOLDEN / file, **GOLDENS[file])
    images, logits = images_and_logits(file)
    with torch.no_grad():
        difference = (model(images) - logits).abs().max() / logits.abs().max()
    assert difference < 1e-5
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_unknown_heads_are_an_error():
    with pytest.raises(UserError, match=r"16, 32, 64, 128 channels.*Give heads=\(\.\.\.\).*window="):
        load(GOLDEN / "msft_davit_tiny.pth.tar")


@pytest.mark.parametrize("format", [name for name in formats() if name != "florence2"])
def test_every_format_is_read_exactly(tmp_path, format):
    model = small(formats()[format].family)
    fields = {"head_order": "pool-norm", "stem_padding": "symmetric"} if format == "mmpretrain_davit" else {}
    again = load(saved(tmp_path / "w", model, format), **fields)
    expected = model.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize("format", ["timm_mixer", "convmixer", "timm_davit", "mmpretrain_mixer"])
def test_a_prefix_that_another_program_added_is_removed(tmp_path, format):
    model = small(formats()[format].family)
    tensors = load_file(saved(tmp_path / "w", model, format))
    lightning = {"state_dict": {f"model.{name}": tensor for name, tensor in tensors.items()}, "epoch": 3}
    torch.save(lightning, tmp_path / "w.ckpt")
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(tmp_path / "w.ckpt").state_dict().items())


def test_a_prefix_of_a_part_of_the_tensors_is_named(tmp_path):
    tensors = load_file(saved(tmp_path / "w", small("mixer"), "timm_mixer"))
    lightning = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    save_file(lightning | {"criterion.weight": torch.ones(4)}, tmp_path / "w.safetensors")
    with pytest.raises(
        UserError,
        match=r'contains a model under the prefix "backbone.", and 1 other tensor, such as criterion.weight: save only '
        "the tensors of the model, without the prefix",
    ):
        load(tmp_path / "w.safetensors")


def test_only_the_image_tower_of_florence_2_is_read(tmp_path, caplog):
    model = small("davit", classes=0, channel_attention="florence2", head_order="pool", merge_kernel=3)
    table = formats()["florence2"]
    tensors = {table.to_file_name(name, {}): tensor for name, tensor in model.state_dict().items()}
    save_file(tensors | {"language_model.x": torch.ones(2)}, tmp_path / "w.safetensors")
    again = load(tmp_path / "w.safetensors", window=4)
    assert (again.config.channel_attention, again.config.head_order, again.config.merge_kernel) == (
        "florence2",
        "pool",
        3,
    )
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(images), small_like(model, window=4)(images))
    assert f"only the image tower is read, 1 of {len(tensors) + 1} tensors are ignored" in caplog.text


def small_like(model: Any, **fields: Any) -> Any:
    """A model with the same weights and other config fields."""
    from dataclasses import asdict

    from mixlab.zoo.architecture import of_family

    other = of_family("davit", "davit", asdict(model.config) | fields).build().eval()
    other.load_state_dict(model.state_dict())
    return other


def test_the_detection_and_segmentation_backbones_keep_their_norms(tmp_path):
    model = small("davit", classes=0, head_order="norms-pool")
    again = load(saved(tmp_path / "w", model, "davit"))
    assert again.config.head_order == "norms-pool"
    assert again.config.classes == 0


def test_weights_of_a_timm_model_are_loaded_at_their_own_rectangular_size(tmp_path):
    model = architecture("timm:plain_vit", image_size=(8, 16), patch_size=4, embed_dim=8, depth=1, num_heads=2)
    weights = Weights(model.family, model.config, model.build().state_dict())
    write_model_folder(tmp_path, weights, tuple(map(str, range(1000))), Preprocess((8, 16)))
    again = module.load_pretrained(tmp_path, image_size=(8, 16)).weights
    assert again.config["image_size"] == (8, 16)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in weights.tensors.items())
    with pytest.raises(UserError, match=r"image_size=\(16, 16\) is not supported"):
        module.load_pretrained(tmp_path, image_size=(16, 16))


def test_the_old_format_of_big_vision_is_read(tmp_path):
    model = small("mixer", depth=11)
    table = formats()["big_vision_legacy"]
    arrays = {}
    for name, tensor in model.state_dict().items():
        file_name = table.to_file_name(name, {}).replace("LayerNorm_1", "LayerNorm_3")
        array = table.to_file(tensor).numpy()
        arrays[file_name] = array[None] if "kernel1" in file_name else array
    np.savez(tmp_path / "w.npz", **arrays)
    again = load(tmp_path / "w.npz")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("format", "gelu", "epsilon"),
    [("google", "tanh", 1e-6), ("timm_mixer", "erf", 1e-6), ("mmpretrain_mixer", "erf", 1e-5)],
)
def test_missing_fields_of_a_mixer_have_logged_defaults_of_the_format(tmp_path, caplog, format, gelu, epsilon):
    path = saved(tmp_path / "w", small("mixer"), format)
    model = load(path)
    assert (model.config.gelu, model.config.epsilon, model.config.image_size) == (gelu, epsilon, 32)
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"gelu='{gelu}', epsilon={epsilon}, image_size=32" in line
    caplog.clear()
    assert load(path, gelu="tanh", epsilon=1e-4, image_size=32).config.gelu == "tanh"
    assert "gelu" not in caplog.text


@pytest.mark.parametrize(("kernel", "activation"), [(7, "relu"), (9, "gelu")])
def test_the_convmixer_trained_with_relu_is_detected_by_its_size(tmp_path, caplog, kernel, activation):
    model = small("convmixer", channels=768, depth=32, patch_size=7, kernel_size=kernel, image_size=32)
    assert load(saved(tmp_path / "w", model, "convmixer")).config.activation == activation
    assert f"activation='{activation}'" in caplog.text


def test_a_grid_that_is_not_square_needs_an_image_size(tmp_path):
    path = saved(tmp_path / "w", small("mixer", image_size=(16, 32)), "timm_mixer")
    with pytest.raises(UserError, match=r"do not form a square: give image_size=\(height, width\)"):
        load(path)
    assert load(path, image_size=(16, 32)).config.image_size == (16, 32)


def test_a_davit_of_mmpretrain_needs_a_head_order_and_a_stem_padding(tmp_path):
    model = small("davit")
    path = saved(tmp_path / "w", model, "mmpretrain_davit")
    for fields in ({}, {"head_order": "norm-pool"}, {"stem_padding": "same"}):
        with pytest.raises(UserError, match=r'a different function.*head_order="norm-pool" and stem_padding="same"'):
            load(path, **fields)
    images = torch.rand(2, 3, 32, 32)
    as_in_mmpretrain = load(path, head_order="norm-pool", stem_padding="same")
    assert torch.equal(as_in_mmpretrain(images), small_like(as_in_mmpretrain)(images))
    assert not torch.allclose(as_in_mmpretrain(images), model(images))


def test_half_precision_weights_are_loaded_as_fp32(tmp_path):
    model = small("mixer")
    save_file({name: tensor.bfloat16() for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    again = load(tmp_path / "w.safetensors")
    assert torch.equal(again.head.weight, model.head.weight.bfloat16().float())


def test_integer_weights_are_refused(tmp_path):
    tensors = {name: tensor.to(torch.int8) for name, tensor in small("mixer").state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"stem\.weight as torch\.int8, but weights must be floating-point"):
        load(tmp_path / "w.safetensors")


def test_another_number_of_classes_replaces_the_head_with_a_warning(tmp_path, caplog):
    path = saved(tmp_path / "w", small("davit"), "mixlab_davit")
    caplog.clear()
    model = load(path, classes=7)
    assert model.head.weight.shape == (7, 64)
    assert not model.head.weight.any()
    assert "The head for 3 classes is replaced by a new one for 7 classes, which is zero." in caplog.text
    assert isinstance(load(path, classes=0).head, torch.nn.Identity)


def without_a_bias(tensors: dict[str, Tensor]) -> None:
    del tensors["blocks.1.mlp_tokens.fc1.bias"]


def with_an_extra_tensor(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.1.scale"] = torch.ones(1)


def with_a_wrong_shape(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.1.norm1.weight"] = torch.ones(9)


def with_another_head(tensors: dict[str, Tensor]) -> None:
    tensors["head.weight"] = torch.ones(3, 9)


def without_a_stem(tensors: dict[str, Tensor]) -> None:
    del tensors["stem.proj.weight"]


def with_a_rectangular_stem(tensors: dict[str, Tensor]) -> None:
    tensors["stem.proj.weight"] = torch.ones(8, 3, 4, 5)


def with_a_huge_block_number(tensors: dict[str, Tensor]) -> None:
    tensors["blocks.999999999.norm1.weight"] = torch.ones(8)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (without_a_bias, r"only in the model: body\.1\.token_mlp\.first\.bias\. "),
        (with_an_extra_tensor, r"only in the file: blocks\.1\.scale\. "),
        (with_a_wrong_shape, r"different shapes \(file, model\): blocks\.1\.norm1\.weight \(9,\), \(8,\)"),
        (with_another_head, r"head\.weight \(3, 9\), \(3, 8\)"),
        (
            without_a_stem,
            r"has no stem\.proj\.weight, but a mixer needs the shape \(channels, image_channels, patch, patch\)",
        ),
        (with_a_rectangular_stem, r"has stem\.proj\.weight with shape \(8, 3, 4, 5\)"),
        (with_a_huge_block_number, "only in the model"),
    ],
)
def test_tensors_that_do_not_match_are_listed_with_both_shapes(tmp_path, change, pattern):
    model = small("mixer")
    table = formats()["timm_mixer"]
    tensors = {table.to_file_name(name, {}): tensor for name, tensor in model.state_dict().items()}
    change(tensors)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=pattern):
        load(tmp_path / "w.safetensors")


def test_differences_are_listed_in_natural_order(tmp_path):
    model = small("mixer", depth=11)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if "token_norm.weight" not in name}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"body\.0\.token_norm.*body\.2\..*body\.7\.token_norm.weight and 3 more"):
        load(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        (
            "mixer_b16",
            r"is a size, not weights: its published weights are mixer_b16\.goog_in1k, .*, use mixlab.create_model",
        ),
        ("mixer_h14", r"is a size without published weights: for random weights, use mixlab.create_model"),
        ("mixer_b16.goog_in2k", r'Did you mean "mixer_b16\.goog_in2?1k'),
        ("nowhere/else", "give the folder that mixlab train printed.*hub:owner/name, or a file"),
    ],
)
def test_unknown_sources_are_refused_with_alternatives(source, pattern):
    with pytest.raises(UserError, match=pattern):
        load(source)


def test_a_davit_has_no_patch_size(tmp_path):
    with pytest.raises(UserError, match=r"patch_size=8 does not apply to a DaViT"):
        load(saved(tmp_path / "w", small("davit"), "davit"), patch_size=8)


def test_resize_is_refused_for_models_that_run_at_any_size(tmp_path):
    with pytest.raises(UserError, match=r'resize="exact" applies only to a Mixer'):
        load(saved(tmp_path / "w", small("convmixer"), "convmixer"), image_size=64, resize="exact")


@pytest.mark.parametrize(
    ("image_size", "window", "message"), [(448, 7, "stays"), (384, 12, "from 7 to 12"), (200, 7, "padded")]
)
def test_the_window_of_a_davit_is_adapted_to_the_image_size(tmp_path, caplog, image_size, window, message):
    model = small("davit", channels=(32, 32, 32, 32), depths=(1, 1, 1, 1), heads=(1, 1, 1, 1))
    assert load(saved(tmp_path / "w", model, "davit"), image_size=image_size).config.window == window
    assert message in caplog.text


def test_a_given_window_is_used(tmp_path):
    model = load(saved(tmp_path / "w", small("davit"), "davit"), image_size=384, window=8)
    assert (model.config.window, model.config.image_size) == (8, 384)


def test_an_unknown_field_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match=r'"windw" is not a field of DaViTConfig: .*Did you mean "window"'):
        load(saved(tmp_path / "w", small("davit"), "davit"), windw=8)
