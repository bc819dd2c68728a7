"""The preprocessing as an ONNX graph and as a PyTorch module: the values of mixlab's with Pillow, bit for bit."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float, UInt8

from mixlab.data.preprocess import Interpolation, Preprocess, Resize
from mixlab.data.transforms import Transform
from mixlab.export.preprocess_graph import IMAGES, IS_RESIZED, preprocess_graph
from mixlab.export.preprocess_module import PreprocessModule

SIZE = (28, 20)
SIDES = [(1, 1), (3, 200), (200, 3), (28, 20), (27, 21), (90, 131), (131, 90), (240, 61), (61, 240), (14, 10)]

Images = UInt8[np.ndarray, "batch row column 3"]
Normalised = Float[np.ndarray, "batch 3 row column"]
Run = Callable[..., Normalised]


def run_graph(preprocess: Preprocess, images: Images, *, is_resized: bool | None = None) -> Normalised:
    """None leaves the optional input out."""
    onnxruntime = pytest.importorskip("onnxruntime", reason='needs onnx and onnxruntime: pip install "mixlab[deploy]"')
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(preprocess_graph(preprocess, opset=20).SerializeToString(), options)
    optional = {} if is_resized is None else {IS_RESIZED: np.array(is_resized)}
    return session.run(None, {IMAGES: images, **optional})[0]


def run_module(preprocess: Preprocess, images: Images, *, is_resized: bool = False) -> Normalised:
    with torch.no_grad():
        return PreprocessModule(preprocess)(torch.from_numpy(images), torch.tensor(is_resized)).numpy()


@pytest.fixture(params=[run_graph, run_module], ids=["graph", "module"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


def noise(*shape: int) -> UInt8[np.ndarray, "..."]:
    """Noise with many black and white pixels, so that the clipping between the two passes matters."""
    values = np.random.default_rng(sum(shape)).normal(128, 120, shape)
    return values.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", ["stretch", "shorter_side", "stretch_and_crop"])
def test_every_value_is_that_of_pillow(resize: Resize, interpolation: Interpolation, run: Run):
    preprocess = Preprocess(SIZE, resize, 0.875, interpolation, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    for rows, columns in SIDES:
        image = noise(rows, columns, 3)
        assert np.array_equal(run(preprocess, image[None])[0], preprocess(image).numpy()), (rows, columns)


def test_the_crop_is_rounded_like_pythons_round(run: Run):
    """108 / 0.96 is 112.5, which is rounded to the even 112."""
    preprocess = Preprocess((108, 55), "stretch_and_crop", 0.96)
    image = noise(216, 582, 3)
    assert np.array_equal(run(preprocess, image[None])[0], preprocess(image).numpy())


def test_images_of_one_size_form_a_batch(run: Run):
    preprocess = Preprocess(SIZE, "shorter_side", 0.9)
    images = noise(3, 50, 40, 3)
    assert np.array_equal(run(preprocess, images), torch.stack([preprocess(image) for image in images]).numpy())


def test_resized_images_are_not_cropped_again(run: Run):
    preprocess = Preprocess(SIZE, "shorter_side", 0.5)
    images = noise(2, *SIZE, 3)
    expected = preprocess.normalised(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.array_equal(run(preprocess, images, is_resized=True), expected)
    assert not np.array_equal(run(preprocess, images), expected)


@pytest.mark.parametrize("name", ["permute_patches", "permute_all_pixels"])
def test_the_transform_of_a_run_is_part_of_it(name, run: Run):
    transform = Transform(name, seed=3, patch_size=4 if name == "permute_patches" else None)
    preprocess = Preprocess(SIZE, transform=transform)
    image = noise(30, 44, 3)
    found = run(preprocess, image[None])[0]
    assert np.array_equal(found, preprocess(image).numpy())
    assert not np.array_equal(found, replace(preprocess, transform=None)(image).numpy())
