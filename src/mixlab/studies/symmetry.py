r"""Which fixed permutations of the images the weights of a model can undo, shown by training.

A transform T puts patch pi(a) at place a, and pixel sigma(q) at place q of every patch. If the weights w of a model can
be permuted to P w such that f(P w, T x) = f(w, x) for all images x, then gradients, momentum and moments are permuted
as well, and a training on T x that starts from P w is at every step the training on x that starts from w. Independent
initial weights have the same distribution as permuted ones, so that trainings from independent starts have the same
distribution of results (Tolstikhin et al. 2021, section 3.4, describe the effect).

A model is not invariant: with the same weights, f(w, T x) differs from f(w, x).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.data.batches import EvalBatches
from mixlab.data.rng import epoch_order
from mixlab.data.transforms import Transform
from mixlab.models.contract import height_and_width
from mixlab.models.mlp import Mlp
from mixlab.training.job import Job

EXACT = 1e-9
"""The largest difference of logits of equal trainings in float64, after a few hundred steps."""

_BATCH, _BATCHES = 8, 32
_LEARNING_RATE, _WEIGHT_DECAY, _CLIP_NORM = 1e-3, 0.05, 1.0


@dataclass(frozen=True)
class Symmetry:
    """The effect of a transform on a model with random weights, in float64.

    same_weights  the largest difference of a logit between images and transformed images, with the same weights
    matched       the same by step for two trainings: on the images, and on transformed images from permuted weights
                  before the first step; empty if no permutation of the weights is known. Step 0 is before the training.
    """

    same_weights: float
    matched: Mapping[int, float] = field(default_factory=dict)

    @property
    def is_invariant(self) -> bool:
        """Whether the logits do not change with the same weights."""
        return self.same_weights < EXACT

    @property
    def is_exact(self) -> bool:
        """Whether both trainings are equal at every step."""
        return bool(self.matched) and max(self.matched.values()) < EXACT


def patch_stem(model: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """The name and the module of the first convolution if it has square patches that do not overlap, else None."""
    convolutions = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    name, first = next(convolutions, ("", None))
    if first is None or first.kernel_size != first.stride or len(set(first.stride)) > 1 or first.stride[0] == 1:
        return None
    return name, first


def patch_size_of(model: nn.Module) -> int | None:
    """The side of the patches of the stem in pixels; None without patches."""
    stem = patch_stem(model)
    return None if stem is None else stem[1].stride[0]


def matched_weights(model: nn.Module, transform: Transform, patches: int) -> dict[str, Tensor] | None:
    """The state of `model` with permuted weights, or None if no permutation is known that could undo the transform.

    The stem undoes a permutation of the pixels of a patch. Token MLPs and learned position embeddings undo a
    permutation of the patches. The result undoes the transform only if all other layers ignore the order of the
    patches; compare the logits.

    patches  the number of patches of an image
    """
    stem = patch_stem(model)
    if stem is None or transform.name == "permute_all_pixels":
        return None
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if transform.name != "permute_patches":
        name = f"{stem[0]}.weight"
        side = stem[1].stride[0]
        pixels = rearrange(state[name], "channel colour y x -> channel colour (y x)")
        permuted = pixels[..., transform.pixel_order(side * side).to(pixels.device)]
        state[name] = rearrange(permuted, "channel colour (y x) -> channel colour y x", y=side)
    if transform.name != "permute_pixels_in_patches":
        order = transform.patch_order(patches).to(next(model.parameters()).device)
        for name, module in model.named_modules():
            if name.endswith("token_mlp") and isinstance(module, Mlp):
                state |= _permuted_token_mlp(state, name, order)
        for name, parameter in model.named_parameters():
            if name.endswith("pos_embed") and parameter.shape[1] == patches:
                state[name] = state[name][:, order]
    return state


def symmetries(job: Job, transforms: Mapping[str, Transform], *, steps: int) -> dict[str, Symmetry]:
    """The symmetry of the job's model under each transform, with `steps` steps of AdamW in a plain loop.

    The model has random weights, also in its head, norms and biases, because with a head of zeros all logits are equal.
    The images are training images of the job. CUDA is used if the job uses it, else the CPU.
    """
    device = job.device if job.device.type == "cuda" else torch.device("cpu")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        original = _random_model(job).to(device)
        height, width = height_and_width(job.architecture.image_size)
        side = patch_size_of(original) or 1
        batches = _batches(job, device)
        images, _ = next(batches)
        same = {
            name: _difference(original, images, original, transform(images)) for name, transform in transforms.items()
        }
        matched: dict[str, nn.Module] = {}
        for name, transform in transforms.items():
            state = matched_weights(original, transform, (height // side) * (width // side))
            if state is not None:
                model = copy.deepcopy(original)
                model.load_state_dict(state)
                if _difference(original, images, model, transform(images)) < EXACT:
                    matched[name] = model
        growth = _train_together(original, matched, transforms, islice(batches, steps)) if matched else {}
    return {name: Symmetry(same[name], growth.get(name, {})) for name in transforms}


def _train_together(
    original: nn.Module,
    matched: Mapping[str, nn.Module],
    transforms: Mapping[str, Transform],
    batches: Iterator[tuple[Tensor, Tensor]],
) -> dict[str, dict[int, float]]:
    """Train all models on the same batches: the largest difference of a logit of a batch from the original, by step."""
    models = {"": original, **matched}
    optimizers = [
        torch.optim.AdamW(model.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY) for model in models.values()
    ]
    growth: dict[str, dict[int, float]] = {name: {} for name in matched}
    for step, (images, labels) in enumerate(batches):
        expected = torch.empty(0)
        for (name, model), optimizer in zip(models.items(), optimizers, strict=True):
            torch.manual_seed(step)  # the same stochastic depth
            logits = model(images if not name else transforms[name](images))
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP_NORM)
            optimizer.step()
            if name:
                growth[name][step] = float((logits.detach() - expected).abs().max())
            else:
                expected = logits.detach()
    return growth


def _random_model(job: Job) -> nn.Module:
    """The model of the job in float64, with random numbers added to norms and biases, and weights of 0 replaced."""
    model = job.architecture.build().double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif not parameter.any():
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return model


def _batches(job: Job, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of normalised training images in float64 with their labels, repeated without end."""
    train = job.dataset.splits["train"]
    chosen = train.subset(epoch_order(0, 0, len(train))[: _BATCH * _BATCHES])
    batches = list(EvalBatches(chosen, job.preprocess, batch=min(_BATCH, len(chosen)), quiet=True))
    whole = [batch for batch in batches if len(batch.labels) == len(batches[0].labels)]
    for batch in cycle(whole):
        images, labels = batch.on(device)
        yield images.double(), labels


def _difference(model: nn.Module, images: Tensor, other: nn.Module, other_images: Tensor) -> float:
    """The largest difference of a logit of two models in training mode, without changing them."""
    with torch.no_grad():
        logits = []
        for one, its_images in ((model, images), (other, other_images)):
            torch.manual_seed(0)
            logits.append(copy.deepcopy(one)(its_images))
    return float((logits[0] - logits[1]).abs().max())


def _permuted_token_mlp(
    state: Mapping[str, Tensor], name: str, order: Int64[Tensor, " patch"]
) -> dict[str, Float[Tensor, "..."]]:
    """The token MLP with permuted inputs and outputs; the hidden units do not change."""
    return {
        f"{name}.first.weight": state[f"{name}.first.weight"][:, order],
        f"{name}.second.weight": state[f"{name}.second.weight"][order],
        f"{name}.second.bias": state[f"{name}.second.bias"][order],
    }


def growth_steps(symmetry: Symmetry) -> Sequence[int]:
    """The steps 0, 1, 3, 10, 30, ... that a table shows, and the last one."""
    last = max(symmetry.matched, default=0)
    return [*(step for step in (0, 1, 3, 10, 30, 100, 300) if step < last), last]
