"""Unfused attention: its results, and which models use attention."""

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from mixlab.speed.rewrites.attention import attention_modules, unfused_attention
from mixlab.zoo.architecture import architecture

SMALL_MIXER = {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 1, "image_size": 32}
IMAGES = torch.empty(2, 3, 32, 32, device="meta")


@pytest.mark.parametrize(
    ("name", "fields", "modules"),
    [
        ("davit_nano", {}, ["WindowAttention"]),
        ("vit_nano", {}, ["Attention"]),
        ("variant:attention_mixer", SMALL_MIXER, ["SelfAttention"]),
    ],
)
def test_the_modules_that_call_attention_are_found(name, fields, modules):
    model = architecture(name, **fields).on_meta()
    assert {type(model.get_submodule(found)).__name__ for found in attention_modules(model, IMAGES)} == {*modules}


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "resnet_nano"])
def test_models_without_attention_have_no_such_modules(name):
    assert attention_modules(architecture(name).on_meta(), IMAGES) == []


def test_modules_that_are_searched_for_attention_have_no_hooks_afterwards():
    model = architecture("davit_nano").on_meta()
    attention_modules(model, IMAGES)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def attend(arguments: Tensor, context: AbstractContextManager[object], **options: object) -> tuple[Tensor, Tensor]:
    """The mixed values of (query, key, value), and the gradient of all three."""
    tensors = arguments.clone().requires_grad_()
    with context:
        mixed = F.scaled_dot_product_attention(*tensors, **options)  # pyright: ignore[reportArgumentType]
    (gradient,) = torch.autograd.grad(mixed, tensors, torch.linspace(-1, 1, mixed.numel()).view_as(mixed).to(mixed))
    return mixed.detach(), gradient


@pytest.mark.parametrize("options", [{}, {"attn_mask": None, "dropout_p": 0.0}, {"is_causal": True}, {"scale": 0.5}])
def test_unfused_attention_has_the_same_values_and_gradients(options):
    arguments = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64)
    fused, unfused = attend(arguments, nullcontext(), **options), attend(arguments, unfused_attention(), **options)
    torch.testing.assert_close(unfused, fused)


def test_a_mask_is_applied():
    arguments, mask = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64), torch.rand(9, 9) < 0.5
    mask |= torch.eye(9, dtype=torch.bool)
    fused, unfused = (attend(arguments, context, attn_mask=mask) for context in (nullcontext(), unfused_attention()))
    torch.testing.assert_close(unfused, fused)


def test_errors_in_bf16_are_at_most_twice_those_of_fused_attention():
    torch.manual_seed(0)
    arguments = torch.randn(3, 64, 4, 49, 32).bfloat16()
    exact = attend(arguments.double(), nullcontext())

    def errors(context: AbstractContextManager[object]) -> list[float]:
        return [float((a - b).norm() / b.norm()) for a, b in zip(attend(arguments, context), exact, strict=True)]

    for error, stock_error in zip(errors(unfused_attention()), errors(nullcontext()), strict=True):
        assert error <= 2 * stock_error


def test_less_is_kept_for_the_backward_pass_than_by_fused_attention():
    saved = []
    for context in (nullcontext(), unfused_attention()):
        numbers: list[int] = []
        query, key, value = torch.randn(3, 2, 4, 49, 32, requires_grad=True).unbind()
        with context, saved_tensors_hooks(lambda tensor: numbers.append(tensor.numel()) or tensor, lambda same: same):  # noqa: B023
            F.scaled_dot_product_attention(query, key, value)
        saved.append(sum(numbers))
    assert saved[1] == 3 * 2 * 4 * 49 * 32 < saved[0]
