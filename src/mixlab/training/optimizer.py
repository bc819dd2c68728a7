"""The optimisers of a recipe."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.training.recipes.schema import Optimizer
from mixlab.zoo.timm_models import TimmModel, layers_of_timm

Named = tuple[str, nn.Parameter]


def build_optimizers(settings: Optimizer, model: nn.Module) -> list[torch.optim.Optimizer]:
    """Each group's `lr_scale` is what its rate is multiplied with. Raises UserError.

    Muon moves the hidden matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), with steps as large
    as AdamW's, which moves all others beside it.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    shares = dict.fromkeys((name for name, _ in trained), 1.0) | _lr_scales(settings, model)
    rate, momentum = settings.learning_rate, settings.momentum
    match settings.name:
        case "sgd":
            return [torch.optim.SGD(_groups(trained, shares, settings), lr=rate, momentum=momentum)]
        case "adamw":
            return [_adamw(trained, shares, settings)]
        case "muon":
            hidden = _hidden_matrices(trained, model)
            others = [named for named in trained if named not in hidden]
            groups = _groups(hidden, shares, settings)
            muon = torch.optim.Muon(groups, lr=rate, momentum=momentum, adjust_lr_fn="match_rms_adamw")
            return [muon, _adamw(others, shares, settings)]


def layers(model: nn.Module) -> dict[str, int]:
    """How deep each parameter lies: 0 in the stem, then one a block (DaViT's merging is one), last the norm and head.

    timm says it of its own models; raises UserError for those of which it doesn't.
    """
    if isinstance(model, TimmModel):
        return layers_of_timm(model)
    place_of = {name: _place(name) for name, _ in model.named_parameters()}
    depth_of = {place: depth for depth, place in enumerate(dict.fromkeys(place_of.values()))}
    return {name: depth_of[place] for name, place in place_of.items()}


def _place(name: str) -> str:
    block = re.match(r"stem|body\.\d+(\.blocks\.\d+)?", name)
    return block[0] if block else "norm and head"


def _lr_scales(settings: Optimizer, model: nn.Module) -> dict[str, float]:
    """`layer_decay` to the power of the layers above: as fine-tuned BEiTs, https://arxiv.org/abs/2106.08254."""
    if settings.layer_decay is None:
        return {}
    depth_of = layers(model)
    last = max(depth_of.values())
    return {name: settings.layer_decay ** (last - depth) for name, depth in depth_of.items()}


def _hidden_matrices(trained: Iterable[Named], model: nn.Module) -> list[Named]:
    depth_of = layers(model)
    last = max(depth_of.values())
    hidden = [(name, parameter) for name, parameter in trained if parameter.dim() == 2 and 0 < depth_of[name] < last]
    if not hidden:
        raise UserError(
            'optimizer.name="muon" moves matrices between the stem and the head, and this model has none there, as '
            'convolutions are none: take optimizer.name="adamw".'
        )
    return hidden


def _adamw(named: Iterable[Named], shares: Mapping[str, float], settings: Optimizer) -> torch.optim.AdamW:
    groups = _groups(named, shares, settings)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon)


def _groups(named: Iterable[Named], shares: Mapping[str, float], settings: Optimizer) -> list[dict[str, Any]]:
    """The parameters that have the same share of the rate and the same decay.

    torch multiplies the decay with the rate; one that follows the schedule alone is divided by the peak beforehand.
    """
    peak = settings.learning_rate if settings.decoupled_decay else 1.0
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        decays = settings.decay_parameters == "all" or parameter.dim() > 1  # biases and norms' scales have one axis
        decay = settings.weight_decay / peak if decays else 0.0
        groups.setdefault((shares[name], decay), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": share, "weight_decay": decay}
        for (share, decay), parameters in groups.items()
    ]
