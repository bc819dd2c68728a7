"""Compares every size that timm has with timm, on the same random weights, through real files, in both directions.

No norm, bias or statistic has a special value such as 0 or 1, and the GELU is that of timm. Giant is left out: both
models and the file would take about 17 GB, by its parameters.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from mixlab.data.preprocess import Resize
from mixlab.weights.convert import Conversion
from mixlab.weights.load import build_with_weights, load_pretrained

timm = pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')

QUICK = ("mixer_s32_224", "davit_tiny")
LONG = (
    *("mixer_s16_224", "mixer_b32_224", "mixer_b16_224", "mixer_l32_224", "mixer_l16_224"),
    *("convmixer_1024_20_ks9_p14", "convmixer_768_32", "convmixer_1536_20"),
    *("davit_small", "davit_base", "davit_large", "davit_huge"),
)
SIZES = {
    "mixer": [(224, 224)],
    "convmixer": [(224, 224), (192, 160), (97, 97)],
    "davit": [(224, 224), (192, 160), (97, 97)],
}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_logits_equal_those_of_timm_in_both_directions(name, tmp_path):
    timm_model = randomized(timm.create_model(name))
    save_file(timm_model.state_dict(), tmp_path / "w.safetensors")
    pretrained = load_pretrained(tmp_path / "w.safetensors")
    mixlab_model = build_with_weights(pretrained.weights)
    sizes = SIZES[pretrained.weights.family]
    assert all(difference(mixlab_model, timm_model, size) < 1e-5 for size in sizes)

    conversion = Conversion(pretrained, "timm", tmp_path / "folder")
    assert conversion.timm is not None and (conversion.timm.name, conversion.lost) == (name, None)
    conversion.write()
    del timm_model
    again = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True).eval()
    assert difference(again, mixlab_model, sizes[0]) < 1e-5


def test_a_davit_with_norm_before_pooling_converts_to_timm_and_back(tmp_path):
    timm_model = randomized(timm.create_model("davit_tiny", head_norm_first=True, num_classes=3))
    save_file(timm_model.state_dict(), tmp_path / "w.safetensors")
    pretrained = load_pretrained(tmp_path / "w.safetensors")
    assert pretrained.weights.config["head_order"] == "norm-pool"
    assert difference(build_with_weights(pretrained.weights), timm_model, (97, 97)) < 1e-5
    conversion = Conversion(pretrained, "timm", tmp_path / "folder")
    assert conversion.lost is None
    conversion.write()
    again = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True).eval()
    assert difference(again, timm_model, (97, 97)) < 1e-6
    assert difference(build_with_weights(load_pretrained(tmp_path / "folder").weights), timm_model, (97, 97)) < 1e-5


def test_the_florence_2_tower_with_timm_names_has_the_features_of_timm(tmp_path):
    small = {"embed_dims": (32, 64), "depths": (1, 2), "num_heads": (1, 2), "window_size": 7, "num_classes": 0}
    timm_model = randomized(timm.create_model("davit_base_fl", **small))
    save_file(timm_model.state_dict(), tmp_path / "w.safetensors")
    mixlab_model: Any = build_with_weights(load_pretrained(tmp_path / "w.safetensors").weights)
    assert (mixlab_model.config.channel_attention, mixlab_model.config.merge_kernel) == ("florence2", 3)
    assert all(difference(mixlab_model, timm_model, size) < 1e-5 for size in SIZES["davit"])


def test_the_image_size_is_preserved_in_a_timm_folder(tmp_path: Path):
    timm_model = randomized(timm.create_model("mixer_s32_224", img_size=(64, 96), num_classes=3))
    save_file(timm_model.state_dict(), tmp_path / "w.safetensors")
    pretrained = load_pretrained(tmp_path / "w.safetensors", image_size=(64, 96))
    Conversion(pretrained, "timm", tmp_path / "folder").write()
    again = timm.create_model(f"local-dir:{tmp_path / 'folder'}", pretrained=True).eval()
    assert difference(again, timm_model, (64, 96)) < 1e-6


def test_the_resizing_of_a_timm_folder_is_that_of_mixlab(tmp_path: Path):
    torch.manual_seed(0)
    model = timm.create_model("mixer_s32_224", img_size=64, num_classes=3)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    pretrained = load_pretrained(tmp_path / "w.safetensors")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 450, 3), dtype=np.uint8))
    for resize in get_args(Resize):
        preprocess = replace(pretrained.image_preprocess, resize=resize, crop_fraction=0.8)
        Conversion(replace(pretrained, preprocess=preprocess), "timm", tmp_path / resize).write()
        config = json.loads((tmp_path / resize / "config.json").read_text())["pretrained_cfg"]
        timm_transform = timm.data.create_transform(**timm.data.resolve_data_config(config))
        torch.testing.assert_close(timm_transform(image), preprocess(np.array(image)), atol=1e-6, rtol=0)
        read_back = load_pretrained(tmp_path / resize).image_preprocess
        assert read_back(np.array(image)).equal(preprocess(np.array(image)))


@torch.inference_mode()
def randomized(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with random norms, biases, statistics and head."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point() and tensor.dim() == 1:  # biases and running means near 0, scales near 1
            tensor.copy_(0.1 * torch.randn_like(tensor) + (1.0 if name.endswith("weight") else 0.0))
        elif name.startswith("head"):
            tensor.normal_(std=0.05)
    return model.eval()


@torch.inference_mode()
def difference(model: nn.Module, reference: nn.Module, size: tuple[int, int]) -> float:
    """The largest difference of a logit, relative to the largest logit."""
    images = torch.randn(1, 3, *size)
    logits: Tensor = reference(images)
    return ((model(images) - logits).abs().max() / logits.abs().max()).item()
