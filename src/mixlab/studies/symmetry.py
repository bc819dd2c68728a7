r"""Which fixed permutations of the images the weights of a model can undo, shown by training.

A transform T puts patch pi(a) at place a, and pixel sigma(q) at place q of every patch. If the weights w of a model can
be permuted to P w such that f(P w, T x) = f(w, x) for all images x, then gradients, momentum and moments are permuted
as well, and a training on T x that starts from P w is at every step the training on x that starts from w. Independent
initial weights have the same distribution as permuted ones, so that trainings from independent starts have the same
distribution of results (Tolstikhin et al. 2021, section 3.4, describe the effect).

A model is not invariant: with the same weights, f(w, T x) differs from f(w, x).

P permutes the pixels of the stem, and all axes of parameters with an entry for each patch. Such an axis is longer in
the same architecture for larger images, which tells it from an axis that happens to have the same length. Whether P
undoes T is computed.

That no P undoes T is shown with tied weights: all weights of an output channel are equal, so that no permutation of
pixels, cells of kernels or patches changes them, P w = w. If f(w, T x) then differs from f(w, x), no P undoes T. If it
does not, there may be one.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from operator import sub

import torch
from einops import rearrange
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.data.batches import EvalBatches
from mixlab.data.rng import epoch_order
from mixlab.data.transforms import Transform
from mixlab.models.contract import height_and_width
from mixlab.studies.places import at_twice_the_size
from mixlab.training.job import Job
from mixlab.zoo.architecture import Architecture, Model

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
    tied_weights  as `same_weights` with tied weights, in multiples of the largest logit; None if it is not known which
                  axes have an entry for each patch
    """

    same_weights: float
    matched: Mapping[int, float] = field(default_factory=dict)
    tied_weights: float | None = None

    @property
    def is_invariant(self) -> bool:
        """Whether the logits do not change with the same weights."""
        return self.same_weights < EXACT

    @property
    def is_exact(self) -> bool:
        """Whether both trainings are equal at every step."""
        return bool(self.matched) and max(self.matched.values()) < EXACT

    @property
    def is_broken(self) -> bool:
        """Whether it is shown that no permutation over pixels, cells of kernels and patches undoes the transform."""
        return self.tied_weights is not None and self.tied_weights >= EXACT

    @property
    def kind(self) -> str:
        """The symmetry in words, for tables."""
        if self.is_invariant:
            return "invariant"
        if self.is_exact:
            return "exact, in distribution"
        return "broken" if self.is_broken else "unknown"


@dataclass(frozen=True)
class Axes:
    """The axes of a parameter, first that of the output channels: lengths, and growths for twice the height and width.

    A bias of a layer with several output axes is stored flat, and has these axes here. A parameter that is no weight or
    bias, such as a position embedding, has one output channel.
    """

    lengths: tuple[int, ...]
    growths: tuple[int, ...]

    def permuted(self, parameter: Tensor, order: Int64[Tensor, " patch"]) -> Tensor:
        """The parameter with permuted patches. Entries for other tokens, such as a class token, come first."""
        patches = len(order)
        result = parameter.reshape(self.lengths)
        for axis, (length, growth) in enumerate(zip(self.lengths, self.growths, strict=True)):
            if growth == 4 * patches - patches:
                others = length - patches
                index = torch.cat([torch.arange(others), others + order])
                result = result.index_select(axis, index.to(parameter.device))
        return result.reshape(parameter.shape)

    def tied(self, parameter: Tensor) -> Tensor:
        """The parameter with the first entry of each output channel for all its entries; one for all output patches."""
        channels = 1 if self.growths[0] else self.lengths[0]
        entries = parameter.detach().reshape(channels, -1)
        return entries[:, :1].expand_as(entries).reshape(parameter.shape)


def axes_of(architecture: Architecture) -> dict[str, Axes]:
    """The axes of each parameter by name; empty if there is no such model for twice the height and width."""
    height, width = height_and_width(architecture.image_size)
    try:
        larger = at_twice_the_size(architecture).on_meta()
        larger(torch.empty(2, architecture.config["image_channels"], 2 * height, 2 * width, device="meta"))
    except Exception:  # models of a fixed size fail in many ways
        return {}
    before, after = _lengths(architecture.on_meta()), _lengths(larger)
    if before.keys() != after.keys():
        return {}
    return {name: Axes(before[name], tuple(map(sub, after[name], before[name]))) for name in before}


def _lengths(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The lengths of the axes of each parameter, see `Axes`."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    lengths: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        outputs = shapes.get(f"{layer}.weight", shape)[:-1]
        match kind:
            case "bias" if outputs and outputs.numel() == shape.numel():
                lengths[name] = outputs
            case "weight" | "bias" if shape:
                lengths[name] = shape
            case _:
                lengths[name] = (1, *shape)
    return lengths


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


def matched_weights(model: Model, transform: Transform, axes: Mapping[str, Axes]) -> dict[str, Tensor] | None:
    """The permuted weights of `model` by name, or None if no permutation is known that could undo the transform.

    The stem undoes a permutation of the pixels of a patch. Parameters with an entry for each patch, such as the token
    MLPs and learned position embeddings, undo a permutation of the patches. The result undoes the transform only if all
    other layers ignore the order of the patches; compare the logits.
    """
    side = transform.patch_size
    if side is None:
        return None
    trained = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    permuted: dict[str, Tensor] = {}
    if transform.name != "permute_pixels_in_patches":
        height, width = height_and_width(model.config.image_size)
        order = transform.patch_order((height // side) * (width // side))
        permuted = {name: axes[name].permuted(weight, order) for name, weight in trained.items() if name in axes}
    if transform.name != "permute_patches":
        stem = patch_stem(model)
        if stem is None or stem[1].stride[0] != side:
            return None
        pixels = rearrange(stem[1].weight.detach(), "channel colour y x -> channel colour (y x)")
        pixels = pixels[..., transform.pixel_order(side * side).to(pixels.device)]
        permuted[f"{stem[0]}.weight"] = rearrange(pixels, "channel colour (y x) -> channel colour y x", y=side)
    return permuted


def symmetries(job: Job, transforms: Mapping[str, Transform], *, steps: int) -> dict[str, Symmetry]:
    """The symmetry of the job's model under each transform, with `steps` steps of AdamW in a plain loop.

    The model has random weights, also in its head, norms and biases, because with a head of zeros all logits are equal.
    The images are training images of the job. CUDA is used if the job uses it, else the CPU.
    """
    device = job.device if job.device.type == "cuda" else torch.device("cpu")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        original = _random_model(job).to(device)
        axes = axes_of(job.architecture)
        batches = _batches(job, device)
        images, _ = next(batches)
        changed = {name: transform(images) for name, transform in transforms.items()}
        logits = _logits(original, images)
        same = {name: _largest(_logits(original, changed[name]) - logits) for name in transforms}
        tied = _tied_differences(original, axes, images, changed) if axes else {}
        matched: dict[str, nn.Module] = {}
        for name, transform in transforms.items():
            weights = matched_weights(original, transform, axes)
            if weights is not None:
                model = _with_weights(original, weights)
                if _largest(_logits(model, changed[name]) - logits) < EXACT:
                    matched[name] = model
        growth = _train_together(original, matched, transforms, islice(batches, steps)) if matched else {}
    return {name: Symmetry(same[name], growth.get(name, {}), tied.get(name)) for name in transforms}


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
                growth[name][step] = _largest(logits.detach() - expected)
            else:
                expected = logits.detach()
    return growth


def _random_model(job: Job) -> Model:
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


def _with_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the model with these weights in place of its own."""
    copied = copy.deepcopy(model)
    copied.load_state_dict(weights, strict=False)
    return copied


def _tied_differences(
    model: nn.Module, axes: Mapping[str, Axes], images: Tensor, changed: Mapping[str, Tensor]
) -> dict[str, float]:
    """The largest difference of a logit with tied weights, in multiples of the largest logit, without dropout."""
    tied = _with_weights(model, {name: axes[name].tied(weight) for name, weight in model.named_parameters()}).eval()
    logits = _logits(tied, images)
    return {name: _largest(_logits(tied, others) - logits) / _largest(logits) for name, others in changed.items()}


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """The logits, without changing the model; with the same stochastic depth in each call."""
    torch.manual_seed(0)
    with torch.no_grad():
        return copy.deepcopy(model)(images)


def _largest(values: Tensor) -> float:
    return float(values.abs().max())


def growth_steps(symmetry: Symmetry) -> Sequence[int]:
    """The steps 0, 1, 3, 10, 30, ... that a table shows, and the last one."""
    last = max(symmetry.matched, default=0)
    return [*(step for step in (0, 1, 3, 10, 30, 100, 300) if step < last), last]
