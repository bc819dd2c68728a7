"""The optimisers of a recipe: AdamW, SGD or Muon, with layer-wise learning rates and weight decay."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mixlab.errors import UserError
from mixlab.models.segmenter import Segmenter
from mixlab.training.recipes.schema import Optimizer
from mixlab.zoo.timm_models import TimmModel, layers_of_timm

Named = tuple[str, nn.Parameter]


def build_optimizers(settings: Optimizer, model: nn.Module) -> list[torch.optim.Optimizer]:
    """The optimisers for the trainable parameters of `model`: one, or for Muon two.

    Every parameter group has an `lr_scale`, the factor of its learning rate. Muon (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon) updates the hidden matrices with steps scaled to the size of AdamW's; an
    AdamW updates all other parameters. Raises UserError if the model has no hidden matrices for Muon, or no known
    layers for `layer_decay`.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    lr_scales = dict.fromkeys((name for name, _ in trained), 1.0) | _lr_scales(settings, model)
    rate, momentum = settings.learning_rate, settings.momentum
    match settings.name:
        case "sgd":
            return [torch.optim.SGD(_groups(trained, lr_scales, settings), lr=rate, momentum=momentum)]
        case "adamw":
            return [_adamw(trained, lr_scales, settings)]
        case "muon":
            hidden = _hidden_matrices(trained, model)
            others = [named for named in trained if named not in hidden]
            groups = _groups(hidden, lr_scales, settings)
            muon = torch.optim.Muon(groups, lr=rate, momentum=momentum, adjust_lr_fn="match_rms_adamw")
            return [muon, _adamw(others, lr_scales, settings)]


def layers(model: nn.Module) -> dict[str, int]:
    """The layer of each parameter: 0 for the stem, then one per block, and the last one for final norm and head.

    A patch merging of DaViT counts as a block. The layers of timm's models are those that timm defines; raises
    UserError for a model without such a definition.
    """
    if isinstance(model, TimmModel):
        return layers_of_timm(model)
    if isinstance(model, Segmenter):
        of_backbone = layers(model.backbone)
        decoder = dict.fromkeys((name for name, _ in model.head.named_parameters()), max(of_backbone.values()) + 1)
        return {f"backbone.{name}": layer for name, layer in of_backbone.items()} | {
            f"head.{name}": layer for name, layer in decoder.items()
        }
    block_of = {name: _block(name) for name, _ in model.named_parameters()}
    layer_of = {block: layer for layer, block in enumerate(dict.fromkeys(block_of.values()))}
    return {name: layer_of[block] for name, block in block_of.items()}


def _block(name: str) -> str:
    block = re.match(r"stem|body\.\d+(\.blocks\.\d+)?", name)
    return block[0] if block else "norm and head"


def _lr_scales(settings: Optimizer, model: nn.Module) -> dict[str, float]:
    """`layer_decay` to the power of the number of layers above, as for fine-tuning in BEiT.

    Bao et al. 2021, https://arxiv.org/abs/2106.08254.
    """
    if settings.layer_decay is None:
        return {}
    layer_of = layers(model)
    last = max(layer_of.values())
    return {name: settings.layer_decay ** (last - layer) for name, layer in layer_of.items()}


def _hidden_matrices(trained: Iterable[Named], model: nn.Module) -> list[Named]:
    layer_of = layers(model)
    last = max(layer_of.values())
    hidden = [(name, parameter) for name, parameter in trained if parameter.dim() == 2 and 0 < layer_of[name] < last]
    if not hidden:
        raise UserError(
            'optimizer.name="muon" needs weight matrices between the stem and the head, and this model has only '
            'convolutions there: set optimizer.name="adamw".'
        )
    return hidden


def _adamw(named: Sequence[Named], lr_scales: Mapping[str, float], settings: Optimizer) -> torch.optim.AdamW:
    groups, rate = _groups(named, lr_scales, settings), settings.learning_rate
    fused = all(_has_fused_steps(parameter) for _, parameter in named)
    return torch.optim.AdamW(groups, lr=rate, betas=settings.betas, eps=settings.epsilon, fused=fused)


def _has_fused_steps(parameter: nn.Parameter) -> bool:
    """Whether PyTorch's fused AdamW updates such a parameter.

    On a CPU it reads parameter, gradient and state in the order of memory, and checks nothing. A gradient has the
    layout of its parameter unless that has gaps in memory, such as a slice of a tensor in a user's model.
    """
    is_dense = parameter.stride() == torch.empty_like(parameter).stride()
    return parameter.is_floating_point() and is_dense and not parameter.is_meta


def _groups(named: Iterable[Named], lr_scales: Mapping[str, float], settings: Optimizer) -> list[dict[str, Any]]:
    """Parameter groups: the parameters with the same `lr_scale` and the same weight decay.

    torch multiplies the decay by the learning rate. A decoupled decay is divided by the peak rate, so that it follows
    the schedule but not the peak.
    """
    peak = settings.learning_rate if settings.decoupled_decay else 1.0
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        # with "matrices", tensors with a single axis have no decay: biases and the scales of norms
        has_decay = settings.decay_parameters == "all" or parameter.dim() > 1
        decay = settings.weight_decay / peak if has_decay else 0.0
        groups.setdefault((lr_scales[name], decay), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": lr_scale, "weight_decay": decay}
        for (lr_scale, decay), parameters in groups.items()
    ]
