"""Distributed training: initialization, collective operations and sharding."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor

from mixlab.errors import UserError
from mixlab.training import distributed
from mixlab.training.distributed import (
    all_reduce_any,
    broadcast_from_main,
    cpu_group,
    gather,
    init_distributed,
    parallelize,
    scatter,
)
from mixlab.zoo.architecture import create_model

CPU = torch.device("cpu")


def test_a_process_that_can_not_reach_the_others_is_an_error(monkeypatch):
    """Otherwise each process would train a model of its own without an error."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "PartialState", lambda cpu: SimpleNamespace(num_processes=1))
    with pytest.raises(UserError, match=r"WORLD_SIZE=2, but this process can't reach the others: each would"):
        init_distributed(torch.device("cuda"))


def test_an_error_of_the_main_process_is_raised_on_all_ranks(monkeypatch):
    def fail() -> None:
        raise UserError("The disk is full.")

    sent: list[object] = []
    monkeypatch.setattr(distributed, "PartialState", lambda: SimpleNamespace(num_processes=2, is_main_process=True))
    monkeypatch.setattr(distributed, "broadcast_object_list", sent.extend)
    with pytest.raises(UserError, match=r"^The disk is full\.$"):
        broadcast_from_main(fail)
    assert [str(one) for one in sent] == ["The disk is full."]


def test_accelerate_uses_the_cpu_only_if_requested(monkeypatch):
    asked = []
    monkeypatch.setattr(distributed, "PartialState", lambda cpu: asked.append(cpu) or SimpleNamespace(num_processes=1))
    init_distributed(CPU)
    init_distributed(torch.device("cuda"))
    assert asked == [True, False]


def test_collective_operations_work_with_a_single_process():
    init_distributed(CPU)
    assert broadcast_from_main(lambda: 3) == 3
    assert all_reduce_any([True, False], cpu_group()) == [True, False]


def test_gather_returns_a_copy_in_the_default_layout():
    tensor = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    clone = gather(tensor)
    assert clone.is_contiguous() and torch.equal(clone, tensor)
    tensor.zero_()
    assert clone.abs().sum() > 0


def test_scatter_preserves_the_layout():
    parameter = nn.Parameter(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last))
    value = torch.randn(2, 3, 4, 4)
    scatter(parameter, value)
    assert torch.equal(parameter, value) and parameter.is_contiguous(memory_format=torch.channels_last)


TINY = {
    "mixer_nano": {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 2},
    "resnet_nano": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]},  # a timm model, with other module names
}


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize("name", TINY)
def test_a_sharded_model_has_the_same_logits(name):
    model = create_model(name, image_size=8, classes=2, **TINY[name]).eval()
    images = torch.randn(2, 3, 8, 8)
    before = model(images)
    two: Any = SimpleNamespace(num_processes=2)
    sharded = parallelize(model, two, "fsdp")
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    torch.testing.assert_close(sharded(images), before)
