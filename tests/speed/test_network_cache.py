"""The cache of converted networks: one conversion per model, intact entries only, and a limited size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mixlab.files import WriteError
from mixlab.speed import network_cache as module
from mixlab.speed.inference_plan import InferencePlan, build_forward
from mixlab.speed.network_cache import cached_conversion, cached_network, conversion_key, is_cached
from mixlab.speed.openvino import compile_openvino

openvino: Any = pytest.importorskip("openvino", reason='needs openvino: pip install "mixlab[deploy]"')

Build = Callable[[], Any]
KEY = {"weights": "one"}


def network(factor: float = 2.0) -> Any:
    """Multiplies images of 1 x 1 pixels by weights."""
    images = openvino.opset13.parameter([-1, 3, 1, 1], dtype=np.float32)
    weights = openvino.opset13.constant(torch.full((1, 3, 1, 1), factor).numpy())
    return openvino.Model([openvino.opset13.multiply(images, weights)], [images])


@pytest.fixture
def build() -> Build:
    return lambda: network()


def outputs(converted: Any) -> torch.Tensor:
    return compile_openvino(converted)(torch.ones(2, 3, 1, 1))[0]


def never() -> Any:
    raise AssertionError("it is in the cache")


def test_a_network_is_built_once_and_has_the_same_outputs_from_the_cache(build: Build):
    assert not is_cached(KEY)
    first = outputs(cached_network(KEY, build))
    assert is_cached(KEY)
    assert torch.equal(first, outputs(network()))
    assert torch.equal(first, outputs(cached_network(KEY, never)))


def test_another_key_is_another_network(build: Build):
    cached_network(KEY, build)
    assert outputs(cached_network({"weights": "two"}, lambda: network(3.0))).max() == 3.0


def test_another_version_of_a_library_builds_again(build: Build, monkeypatch: pytest.MonkeyPatch):
    cached_network(KEY, build)
    monkeypatch.setattr(module.metadata, "version", lambda package: "0.0")
    assert not is_cached(KEY)


@pytest.mark.parametrize("damage", ["truncated", "changed weight", "empty", "other content"])
def test_a_damaged_entry_is_built_again(damage: str, build: Build, network_cache: Path):
    cached_network(KEY, build)
    (file,) = network_cache.iterdir()
    intact = file.read_bytes()
    damaged = {
        "truncated": intact[:-7],
        "changed weight": intact.replace(torch.tensor([2.0]).numpy().tobytes(), torch.tensor([4.0]).numpy().tobytes()),
        "empty": b"",
        "other content": module.save({"graph": torch.zeros(3).numpy()}),
    }[damage]
    assert damaged != intact
    file.write_bytes(damaged)
    assert outputs(cached_network(KEY, build)).max() == 2.0
    assert outputs(cached_network(KEY, never)).max() == 2.0, "it is replaced"


def test_the_networks_that_were_not_used_for_the_longest_time_are_removed(
    build: Build, network_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    keys = [{"weights": name} for name in ("old", "used again", "new")]
    for seconds, key in enumerate(keys):
        cached_network(key, build)
        module.os.utime(module._file(key), (seconds, seconds))
    cached_network(keys[1], never)
    size = module._file(keys[0]).stat().st_size
    monkeypatch.setattr(module, "MAX_BYTES", 2.5 * size)
    cached_network(KEY, build)
    assert [is_cached(key) for key in (*keys, KEY)] == [False, True, False, True]


def test_without_space_for_the_cache_the_network_is_returned(build: Build, monkeypatch: pytest.MonkeyPatch):
    def full(file: Path, parts: object) -> None:
        raise WriteError(file, "the disk is full")

    monkeypatch.setattr(module, "_write", full)
    assert outputs(cached_network(KEY, build)).max() == 2.0


def test_a_plan_in_openvino_reads_the_converted_model_from_the_cache(monkeypatch: pytest.MonkeyPatch):
    conversions = []

    def convert(model: nn.Module, image_shape: object) -> Any:
        conversions.append(image_shape)
        return network()

    monkeypatch.setattr(module, "to_openvino", convert)
    images, plan = torch.ones(2, 3, 1, 1), InferencePlan("openvino")
    for _ in range(2):
        (result,) = build_forward(nn.Identity(), plan, (3, 1, 1), lambda: KEY)(images)
        assert torch.equal(result, 2 * images)
    assert conversions == [(3, 1, 1)]
    assert is_cached(conversion_key(lambda: KEY, (3, 1, 1)))
    cached_conversion(nn.Identity(), (3, 1, 1), None)
    assert len(conversions) == 2, "without a key, nothing is cached"
