"""A Mixer without transposed copies: outputs and gradients of the stock model."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from mixlab.models.mixer import Mixer, MixerBlock, MixerConfig
from mixlab.speed.plan import ComputeMode
from mixlab.speed.rewrites.gelu import native_gelu
from mixlab.speed.rewrites.mixer import UntransposedMixerBlock, has_mixer_block, untranspose_mixer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def mixer(**fields: object) -> Mixer:
    sizes = {"patch_size": 2, "channels": 6, "token_hidden": 5, "channel_hidden": 7, "depth": 2, "classes": 3}
    model = Mixer(MixerConfig(**({"image_size": 8} | sizes | fields)))  # pyright: ignore[reportArgumentType]
    nn.init.normal_(model.get_parameter("head.weight"))  # it is 0, and so would be all other gradients
    return model


def rewritten(model: nn.Module) -> nn.Module:
    return native_gelu(untranspose_mixer(copy.deepcopy(model)))


def gradients(model: nn.Module, images: Tensor, precision: str = "fp32") -> list[Tensor]:
    """The logits, then the gradient of the images and of each parameter."""
    images = images.clone().requires_grad_()
    torch.manual_seed(1)  # stochastic depth draws the same
    with ComputeMode(precision).autocast(CPU):  # pyright: ignore[reportArgumentType]
        logits = model(images)
    F.cross_entropy(logits.to(images.dtype), torch.arange(len(images)) % logits.shape[1]).backward()
    found = [parameter.grad for parameter in model.parameters()]
    return [tensor for tensor in (logits.detach(), images.grad, *found) if tensor is not None]


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    channels=st.integers(1, 20),
    token_hidden=st.integers(1, 40),
    channel_hidden=st.integers(1, 40),
    batch=st.integers(1, 19),
    gelu=st.sampled_from(["tanh", "erf"]),
    stochastic_depth=st.sampled_from([0.0, 0.5]),
)
def test_logits_and_gradients_are_those_of_the_stock_model(
    rows, columns, channels, token_hidden, channel_hidden, batch, gelu, stochastic_depth
):
    sizes = {"channels": channels, "token_hidden": token_hidden, "channel_hidden": channel_hidden}
    stock = mixer(image_size=(2 * rows, 2 * columns), gelu=gelu, stochastic_depth=stochastic_depth, **sizes).double()
    images = torch.randn(batch, 3, 2 * rows, 2 * columns, dtype=torch.float64)
    expected, found = gradients(stock, images), gradients(rewritten(stock), images)
    assert len(found) == len(expected) == 2 + len(list(stock.parameters()))
    for value, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_errors_are_about_those_of_the_stock_model_in_both_precisions(precision):
    """The norms of the errors relative to float64, mean of 4 models: at most 1.5 times the stock model's, or 1e-5."""
    errors, stock_errors = [], []
    for seed in range(4):
        torch.manual_seed(seed)  # `gradients` sets it
        stock = mixer(image_size=32, channels=40, token_hidden=48, channel_hidden=80)
        images = torch.randn(8, 3, 32, 32)
        exact = gradients(copy.deepcopy(stock).double(), images.double())
        for model, found in ((rewritten(stock), errors), (stock, stock_errors)):
            pairs = zip(gradients(model, images, precision), exact, strict=True)
            found.append([float((a - b).norm() / b.norm()) for a, b in pairs])
    for error, stock_error in zip(_means(errors), _means(stock_errors), strict=True):
        assert error <= max(1.5 * stock_error, 1e-5)


def test_in_evaluation_the_logits_are_those_of_the_stock_model():
    stock, images = mixer().eval(), torch.randn(2, 3, 8, 8)
    assert not rewritten(stock).training
    with torch.no_grad():
        assert torch.equal(rewritten(stock)(images), stock(images))


def test_parameters_and_their_names_stay_the_same():
    model = mixer()
    state = model.state_dict(keep_vars=True)
    assert has_mixer_block(model)
    changed = native_gelu(untranspose_mixer(model))
    assert not has_mixer_block(changed)
    assert list(changed.state_dict()) == list(state)
    assert all(tensor is state[name] for name, tensor in changed.state_dict(keep_vars=True).items())


def test_no_more_is_kept_for_the_backward_pass_than_by_the_stock_block():
    config = MixerConfig(image_size=32, patch_size=2, channels=64, token_hidden=128, channel_hidden=256, depth=1)
    stock, tokens = MixerBlock(config, 0.0), torch.randn(4, 256, 64, requires_grad=True)
    saved = {}
    for block in (stock, UntransposedMixerBlock(native_gelu(copy.deepcopy(stock)))):  # pyright: ignore
        storages: dict[int, int] = {}

        def record(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(record, lambda tensor: tensor):
            outputs = block(tokens)
        saved[type(block)] = sum(storages.values())
        del outputs
    assert saved[UntransposedMixerBlock] <= saved[MixerBlock]


def _means(rows: list[list[float]]) -> list[float]:
    return torch.tensor(rows).mean(dim=0).tolist()
