"""Several processes: what each of them has to see, and what a shard is."""

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


def test_a_process_that_was_launched_with_others_and_sees_none_is_refused(monkeypatch):
    """As plain torchrun on a processor leaves it, where a library looks for GPUs alone: two trainings in silence."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "PartialState", lambda cpu: SimpleNamespace(num_processes=1))
    with pytest.raises(UserError, match=r"WORLD_SIZE=2, but this process can't reach the others: each would"):
        init_distributed(torch.device("cuda"))


def test_on_a_processor_accelerate_is_told_that_it_is_one(monkeypatch):
    asked = []
    monkeypatch.setattr(distributed, "PartialState", lambda cpu: asked.append(cpu) or SimpleNamespace(num_processes=1))
    init_distributed(CPU)
    init_distributed(torch.device("cuda"))
    assert asked == [True, False]


def test_alone_everything_is_decided_here():
    init_distributed(CPU)
    assert broadcast_from_main(lambda: 3) == 3
    assert all_reduce_any([True, False], cpu_group()) == [True, False]


def test_what_is_whole_is_a_copy_in_the_default_layout():
    tensor = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    clone = gather(tensor)
    assert clone.is_contiguous() and torch.equal(clone, tensor)
    tensor.zero_()
    assert clone.abs().sum() > 0


def test_a_tensor_that_is_filled_keeps_its_layout():
    parameter = nn.Parameter(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last))
    value = torch.randn(2, 3, 4, 4)
    scatter(parameter, value)
    assert torch.equal(parameter, value) and parameter.is_contiguous(memory_format=torch.channels_last)


TINY = {
    "mixer_nano": {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 2},
    "resnet_nano": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]},  # timm's, whose blocks have other names
}


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize("name", TINY)
def test_every_family_can_be_sharded_and_answers_as_before(name):
    model = create_model(name, image_size=8, classes=2, **TINY[name]).eval()
    images = torch.randn(2, 3, 8, 8)
    before = model(images)
    two: Any = SimpleNamespace(num_processes=2)
    sharded = parallelize(model, two, "fsdp")
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    torch.testing.assert_close(sharded(images), before)
