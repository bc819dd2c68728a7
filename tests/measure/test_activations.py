"""The computed activation memory is that of a real forward pass."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mixlab.measure.activations import activation_bytes
from mixlab.zoo.architecture import create_model

NANO = ["mixer_nano", "convmixer_nano", "davit_nano", "vit_nano", "resnet_nano"]
IMAGES = (16, 3, 32, 32)


def loss(logits: Tensor, images: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), torch.zeros_like(logits, dtype=torch.float32))


def cast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def estimated(network: nn.Module, precision: str = "fp32") -> int:
    return activation_bytes(network, IMAGES, loss, device=torch.device("cpu"), cast=partial(cast, precision))


def measured(network: nn.Module, precision: str) -> int:
    images = torch.randn(IMAGES)
    own = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers(), images)}
    saved = {}

    def record(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(record, lambda tensor: tensor):
        with cast(precision):
            logits = network(images)
        loss_value = loss(logits, images)  # keeps the graph alive, so that no address is reused
    del loss_value
    return sum(size for address, size in saved.items() if address not in own)


@pytest.mark.parametrize("name", NANO)
def test_the_bytes_equal_those_of_a_real_pass(name):
    network = create_model(name, classes=10).train()
    assert estimated(network) == measured(network, "fp32")


@pytest.mark.parametrize("name", NANO)
def test_in_bfloat16_the_bytes_are_within_one_per_cent_of_a_real_pass(name):
    network = create_model(name, classes=10).train()
    real = measured(network, "bf16")
    assert 0.99 * real <= estimated(network, "bf16") <= real < 0.7 * estimated(network)


def test_a_model_on_the_meta_device_stays_there():
    with torch.device("meta"):
        network = create_model("convmixer_nano")
    assert estimated(network) > 0
    assert all(tensor.is_meta for tensor in network.state_dict().values())


def test_a_loss_can_have_tensors_of_its_own():
    network, weights = create_model("mixer_nano", classes=2), torch.tensor([0.25, 0.75])

    def weighted(logits: Tensor, images: Tensor) -> Tensor:
        return F.cross_entropy(logits, torch.zeros_like(logits), weight=weights)

    saved = activation_bytes(network, IMAGES, weighted, device=torch.device("cpu"), cast=partial(cast, "fp32"))
    assert saved > 0
