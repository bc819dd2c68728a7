"""The optimisers: weight decay, the learning rate of each layer, and steps compared with their formulas."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.speed.kernels.library import KernelsUnavailableError, kernels
from mixlab.speed.plan import ComputeMode, Plan, prepare_for_training
from mixlab.speed.training_rewrites import TrainingRewrites, cpu_rewrites
from mixlab.training.optimizer import build_optimizers, layers
from mixlab.training.recipes.schema import Optimizer
from mixlab.zoo.architecture import Model, create_model


def settings(**given: Any) -> Optimizer:
    return Optimizer.model_validate({"learning_rate": 0.1, "weight_decay": 0.3} | given)


def tiny(name: str) -> Model:
    sizes: dict[str, dict[str, Any]] = {
        "mixer_nano": {"channels": 8, "token_hidden": 8, "channel_hidden": 8, "depth": 2},
        "convmixer_nano": {"channels": 8, "depth": 2},
        "davit_nano": {"channels": (8, 16), "depths": (1, 1), "heads": (1, 2)},
        "vit_nano": {"embed_dim": 8, "depth": 2, "num_heads": 1},
        "resnet_nano": {"channels": (8, 8, 8, 8)},
    }
    return create_model(name, **sizes[name])


def of_each_parameter(model: nn.Module, key: str, **given: Any) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: group[key]
        for optimizer in build_optimizers(settings(**given), model)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


# Weight decay


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano"])
def test_matrices_and_kernels_decay_while_biases_and_norms_do_not(name):
    model = tiny(name)
    decay_of = of_each_parameter(model, "weight_decay")
    norms = (nn.LayerNorm, nn.BatchNorm2d)
    for path, module in model.named_modules():
        for kind, _ in module.named_parameters(recurse=False):
            decay_parameters = kind == "weight" and not isinstance(module, norms)
            assert decay_of.pop(f"{path}.{kind}") == (0.3 if decay_parameters else 0.0), (path, kind)
    assert not decay_of


def test_all_parameters_decay_if_the_recipe_says_so():
    assert set(of_each_parameter(tiny("convmixer_nano"), "weight_decay", decay_parameters="all").values()) == {0.3}


def test_frozen_parameters_are_not_optimised():
    model = nn.Linear(3, 2)
    model.bias.requires_grad = False
    (optimizer,) = build_optimizers(settings(), model)
    assert [list(group["params"]) for group in optimizer.param_groups] == [[model.weight]]


# Steps


def stepped(steps: int = 3, **given: Any) -> tuple[Tensor, list[Tensor]]:
    """A weight of 2x3 after some steps at half of the peak learning rate, and its gradients."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2, bias=False)
    gradients = [torch.randn(2, 3) for _ in range(steps)]
    (optimizer,) = build_optimizers(settings(**given), model)
    for gradient in gradients:
        for group in optimizer.param_groups:
            group["lr"] = 0.5 * 0.1 * group["lr_scale"]
        model.weight.grad = gradient
        optimizer.step()
    return model.weight.detach(), gradients


def initial() -> Tensor:
    torch.manual_seed(0)
    return nn.Linear(3, 2, bias=False).weight.detach()


def adamw(weight: Tensor, gradients: list[Tensor], decay: float, epsilon: float = 1e-8) -> Tensor:
    """Loshchilov and Hutter 2017, algorithm 2, with a constant rate of 0.05 and the given decay per step."""
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, gradient in enumerate(gradients, start=1):
        first = 0.8 * first + 0.2 * gradient
        second = 0.9 * second + 0.1 * gradient**2
        move = first / (1 - 0.8**step) / ((second / (1 - 0.9**step)).sqrt() + epsilon)
        weight = weight - 0.05 * move - decay * weight
    return weight


def test_adamw_multiplies_the_decay_by_the_learning_rate():
    weight, gradients = stepped(betas=[0.8, 0.9], epsilon=1e-3)
    torch.testing.assert_close(weight, adamw(initial(), gradients, decay=0.05 * 0.3, epsilon=1e-3))


def test_a_decoupled_decay_is_multiplied_by_the_schedule_only():
    """As in big_vision, where a decay of 1e-4 equals 0.1 with a learning rate of 1e-3."""
    weight, gradients = stepped(betas=[0.8, 0.9], weight_decay=0.03, decoupled_decay=True)
    torch.testing.assert_close(weight, adamw(initial(), gradients, decay=0.5 * 0.03))


def test_sgd_has_momentum_and_adds_the_decay_to_the_gradient():
    weight, gradients = stepped(name="sgd", momentum=0.7)
    expected, velocity = initial(), torch.zeros(2, 3)
    for gradient in gradients:
        velocity = 0.7 * velocity + gradient + 0.3 * expected
        expected = expected - 0.05 * velocity
    torch.testing.assert_close(weight, expected)


# Layers


@pytest.mark.parametrize(("name", "last"), [("mixer_nano", 3), ("convmixer_nano", 3), ("davit_nano", 6)])
def test_layers_are_the_stem_the_blocks_and_norm_with_head(name, last):
    """The tiny DaViT has two pairs of blocks with a merging between them."""
    depth_of = layers(tiny(name))
    assert list(depth_of.values()) == sorted(depth_of.values())
    assert {depth for name, depth in depth_of.items() if name.startswith("stem")} == {0}
    assert {depth for name, depth in depth_of.items() if name.startswith("head")} == {last}
    assert set(depth_of.values()) == set(range(last + 1))


def test_the_learning_rate_decreases_by_the_layer_decay_from_head_to_stem():
    share_of = of_each_parameter(tiny("mixer_nano"), "lr_scale", layer_decay=0.5)
    shares = {name.removesuffix(".bias"): share for name, share in share_of.items() if name.endswith("bias")}
    assert (shares["stem"], shares["norm"], shares["head"]) == (0.125, 1.0, 1.0)
    assert (shares["body.0.token_norm"], shares["body.1.channel_mlp.second"]) == (0.25, 0.5)


def test_without_a_layer_decay_all_layers_have_the_same_rate():
    assert set(of_each_parameter(tiny("davit_nano"), "lr_scale").values()) == {1.0}


@pytest.mark.parametrize("name", ["vit_nano", "resnet_nano"])
def test_a_timm_model_has_the_layer_decay_of_timm(name):
    groups = pytest.importorskip("timm.optim._param_groups")
    model = tiny(name)
    names = {parameter: name for name, parameter in model.named_parameters()}
    theirs = {
        names[parameter]: group["lr_scale"]
        for group in groups.param_groups_layer_decay(model.network, layer_decay=0.6)
        for parameter in group["params"]
    }
    assert of_each_parameter(model, "lr_scale", layer_decay=0.6) == pytest.approx(theirs)


def test_the_blocks_of_a_mixer_have_the_layer_decay_of_timm():
    """timm assigns the last norm to the last block; mixlab assigns it to the head, as BEiT does."""
    timm = pytest.importorskip("timm")
    groups = pytest.importorskip("timm.optim._param_groups")
    with torch.device("meta"):
        theirs = timm.create_model("mixer_s32_224")
    scale_of = {parameter: name for name, parameter in theirs.named_parameters()}
    shares = {
        scale_of[parameter].rpartition("blocks.")[2][0]: group["lr_scale"]
        for group in groups.param_groups_layer_decay(theirs, layer_decay=0.7)
        for parameter in group["params"]
        if "blocks" in scale_of[parameter]
    }
    with torch.device("meta"):
        ours = of_each_parameter(create_model("mixer_s32"), "lr_scale", layer_decay=0.7)
    assert {name[5]: share for name, share in ours.items() if name.startswith("body")} == pytest.approx(shares)


def test_a_timm_model_without_defined_layers_is_refused(monkeypatch):
    model = tiny("vit_nano")
    monkeypatch.delattr(type(model.network), "group_matcher")
    with pytest.raises(UserError, match=r"^timm does not define the layers of timm:.*, which optimizer.layer_decay"):
        build_optimizers(settings(layer_decay=0.5), model)


# Muon


def test_muon_updates_the_hidden_matrices_and_adamw_the_other_parameters():
    model = tiny("mixer_nano")
    muon, adamw = build_optimizers(settings(name="muon", decay_parameters="all"), model)
    assert (type(muon), type(adamw)) == (torch.optim.Muon, torch.optim.AdamW)
    moved = {id(parameter) for group in muon.param_groups for parameter in group["params"]}
    hidden = {
        f"body.{block}.{mlp}_mlp.{layer}.weight"
        for block in (0, 1)
        for mlp in ("token", "channel")
        for layer in ("first", "second")
    }
    assert {name for name, parameter in model.named_parameters() if id(parameter) in moved} == hidden
    others = sum(len(group["params"]) for group in adamw.param_groups)
    assert others == len(list(model.parameters())) - len(hidden)


def test_a_step_of_muon_is_an_orthogonal_matrix_with_the_size_of_adamw():
    """The singular values are about 0.2 sqrt(side), so that the root mean square of the entries is 0.2."""
    model = tiny("mixer_nano")
    block = model.get_parameter("body.0.channel_mlp.first.weight")
    muon, _ = build_optimizers(settings(name="muon", weight_decay=0.0), model)
    before = block.detach().clone()
    block.grad = torch.randn(block.shape)
    muon.step()
    values = torch.linalg.svdvals((before - block.detach()) / 0.1)
    assert values.min() > 0.6 * 0.2 * math.sqrt(8) and values.max() < 1.3 * 0.2 * math.sqrt(8)


def test_muon_without_a_hidden_matrix_is_refused():
    with pytest.raises(
        UserError, match=r'^optimizer\.name="muon" needs weight matrices .* set optimizer\.name="adamw"\.$'
    ):
        build_optimizers(settings(name="muon"), tiny("convmixer_nano"))


# Fused steps


def order_in_memory(tensor: Tensor) -> list[int]:
    """The strides of the axes that have one."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano", "vit_nano", "resnet_nano"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("with_kernels", [False, True], ids=["stock modules", "rewrites"])
def test_gradients_have_the_layout_of_their_parameters(name, layout, with_kernels):
    """PyTorch's fused kernels on a CPU read both in the order of memory, without a check of their strides."""
    model, device = tiny(name).train(), torch.device("cpu")
    rewrites = TrainingRewrites()
    if with_kernels:
        try:
            build = kernels().build
        except KernelsUnavailableError as error:
            pytest.skip(f"needs native kernels: {error}")
        rewrites = cpu_rewrites(tiny(name).to("meta"), (3, 32, 32), "bf16", build)
    plan = Plan("cpu", ComputeMode("bf16", layout), 4, rewrites=rewrites)
    model = prepare_for_training(model, device, plan, 4)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=plan.mode.memory_format)
    with plan.forward_context(device):
        loss = model(images).float().square().mean()
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert order_in_memory(parameter.grad) == order_in_memory(parameter)


def test_fused_steps_are_those_of_the_formula():
    models = [tiny("convmixer_nano").to(memory_format=torch.channels_last) for _ in range(2)]  # pyright: ignore[reportCallIssue]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [build_optimizers(settings(learning_rate=0.01), model)[0] for model in models]
    assert all(optimizer.defaults["fused"] for optimizer in optimizers)
    for group in optimizers[1].param_groups:
        group["fused"] = False
    for step in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            torch.manual_seed(step)
            model(torch.randn(4, 3, 32, 32)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "parameter",
    [torch.ones(4, 8)[:, :4], torch.ones(4, 4, dtype=torch.complex64), torch.ones(4, 4, device="meta")],
    ids=["a slice of a tensor", "complex", "meta"],
)
def test_parameters_without_fused_steps_have_the_others(parameter):
    model = nn.Module()
    model.weight = nn.Parameter(parameter)
    (optimizer,) = build_optimizers(settings(), model)
    assert not optimizer.defaults["fused"]
    if not parameter.is_meta:
        model.weight.abs().sum().backward()
        optimizer.step()
        assert torch.allclose(model.weight, 0.97 * torch.ones(4, 4, dtype=parameter.dtype) - 0.1)
