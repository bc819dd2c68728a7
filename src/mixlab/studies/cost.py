"""How does the cost of a model grow with the number of patches?

Multiply-accumulates and parameters are counted, and time and memory are measured, for more and more patches of the same
size, and for larger and larger patches in the same number. With a fixed hidden width of the token MLPs, the
multiply-accumulates of a Mixer have no quadratic term (Tolstikhin et al. 2021, section 2). If this width grows with the
number of patches, as in the paper's fine-tuning at higher resolutions (appendix C), they have one.

Memory is measured twice: with the attention that PyTorch selects, which is fused where possible and then never holds
all scores, and with unfused attention, which holds them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mixlab.errors import UserError
from mixlab.measure import machine
from mixlab.measure.live_memory import peak_bytes_of
from mixlab.measure.timing import interleaved
from mixlab.models.contract import height_and_width
from mixlab.report.progress import Log
from mixlab.report.text import join_words
from mixlab.speed.allocator import retain_freed_memory
from mixlab.studies.cost_result import FIXED_PATCHES, MORE_PATCHES, WIDENED, CostResult, Point
from mixlab.studies.grids import require_distinct
from mixlab.zoo.architecture import Architecture, architecture, family_of
from mixlab.zoo.references import model_references

COST = "about a minute; needs no data"

DEFAULT = ("mixer_nano", "convmixer_nano", "davit_nano", "vit_nano")
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    models: tuple[str, ...] = field(default=DEFAULT, metadata={"help": "Models that cut images into patches."})
    largest: int = field(default=4, metadata={"help": "The largest factor of the image size.", "min": 3, "max": 16})
    batch: int = field(default=8, metadata={"help": "Images of a timed forward pass.", "min": 1})
    rounds: int = field(default=9, metadata={"help": "Timed rounds.", "min": 2})


def run(settings: Settings, *, quiet: bool, log: Log) -> CostResult:
    """Count and measure all models at all sizes. This process retains freed memory, see `mixlab.speed.allocator`.

    Otherwise, times would have a step where blocks are large enough to be returned to the system after each layer.

    Raises UserError if a model is there twice, can't be built, or does not cut images into patches.
    """
    require_distinct("--models", settings.models)
    names, notes = _installed(settings.models)
    series = [one for name in names for one in _series(architecture(name), settings.largest)]
    if fixed := [name for name in names if not any(one.model == name and one.sweep == FIXED_PATCHES for one in series)]:
        notes += (f"The patch size of {join_words(fixed)} is fixed: the number of patches can't stay the same.",)
    device = machine.pick_device()
    memory_device = device if device.type == "cuda" else torch.device("cpu")
    if memory_device != device:
        notes += (f"Memory is measured on the CPU, because PyTorch does not record it on {device.type}.",)
    retain_freed_memory()
    calls, patches = {}, {}
    for one in series:
        for built in one.architectures:
            key = f"{one.name}, {one.sweep}, {built.image_size}"
            calls[key], patches[key] = _forward_pass(built, settings.batch, device), patches_of(built)
    log(f"Timing {len(calls)} models, {settings.rounds} rounds each, on {machine.device_name(device)}.")
    seconds = interleaved(calls, rounds=settings.rounds, warmup=1, sample_seconds=_SAMPLE_SECONDS)
    points = []
    for one in series:
        for built in one.architectures:
            key = f"{one.name}, {one.sweep}, {built.image_size}"
            memory, unfused_memory = _memory(built, memory_device)
            points.append(
                Point(
                    series=one.name,
                    family=built.family,
                    sweep=one.sweep,
                    side=height_and_width(built.image_size)[0],
                    patches=patches[key],
                    macs=built.macs,
                    parameters=built.parameters,
                    memory_bytes=memory,
                    unfused_memory_bytes=unfused_memory,
                    milliseconds=tuple(1000 * value / settings.batch for value in seconds[key]),
                )
            )
    return CostResult(
        settings=asdict(settings),
        points=tuple(points),
        notes=notes,
        references=tuple(key for one in series for key in model_references(one.architectures[0])),
        environment=machine.describe(device),
    )


@dataclass(frozen=True)
class _Series:
    """A model at several sizes. `name` is that of the model, with a suffix if something else changes too."""

    name: str
    model: str
    sweep: str
    architectures: Sequence[Architecture]


def _series(base: Architecture, largest: int) -> list[_Series]:
    factors = range(1, largest + 1)
    height, width = height_and_width(base.image_size)

    def sizes(factor: int) -> dict[str, object]:
        return {"image_size": height * factor if height == width else (height * factor, width * factor)}

    found = [_Series(base.name, base.name, MORE_PATCHES, [base.with_fields(**sizes(factor)) for factor in factors])]
    if "token_hidden" in base.config:
        hidden = base.config["token_hidden"]
        wider = [base.with_fields(**sizes(factor), token_hidden=hidden * factor**2) for factor in factors]
        found.append(_Series(f"{base.name} {WIDENED}", base.name, MORE_PATCHES, wider))
    if (patch := _patch_size(base)) is not None:
        larger = [base.with_fields(**sizes(factor), patch_size=patch * factor) for factor in factors]
        found.append(_Series(base.name, base.name, FIXED_PATCHES, larger))
    return found


def patches_of(built: Architecture) -> int:
    """The number of patches of an image after the stem. Raises UserError for a model without patches."""
    height, width = height_and_width(built.image_size)
    if (patch := _patch_size(built)) is not None:
        return (height // patch) * (width // patch)
    if built.family == "davit":
        return -(-height // 4) * -(-width // 4)
    raise UserError(
        f"{built.name} does not cut images into patches: give --models with Mixers, ConvMixers, DaViTs or ViTs."
    )


def _patch_size(built: Architecture) -> int | None:
    """The side of a patch in pixels, if it is a field of the config."""
    if "patch_size" in built.config:
        return built.config["patch_size"]
    if built.family != "timm":
        return None
    if "patch_size" in built.config["arguments"]:
        return built.config["arguments"]["patch_size"]
    embedding = getattr(built.on_meta().network, "patch_embed", None)
    return getattr(embedding, "patch_size", (None,))[0]


def _forward_pass(built: Architecture, batch: int, device: torch.device) -> Callable[[], object]:
    with device, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = built.build().eval()
        images = torch.randn(batch, built.config["image_channels"], *height_and_width(built.image_size))

    def forward() -> None:
        with torch.no_grad():
            model(images)

    return forward


def _memory(built: Architecture, device: torch.device) -> tuple[int, int]:
    """Peak bytes of the forward pass of one image: with the attention that PyTorch selects, and with unfused one."""
    forward = _forward_pass(built, 1, device)
    with sdpa_kernel(SDPBackend.MATH):
        unfused = peak_bytes_of(forward, device)
    return peak_bytes_of(forward, device), unfused


def _installed(models: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """The models, without those of timm if it is not installed and the models are the default ones, and a note."""
    if models != DEFAULT or find_spec("timm"):
        return list(models), ()
    left = [name for name in models if family_of(name) != "timm"]
    missing = ", ".join(name for name in models if name not in left)
    return left, (f"{missing} is left out, because timm is not installed.",)
