"""Which parts of a ConvMixer matter: patches, width, kernels, depth, residual connections, norms?

ConvMixers with every patch size and width are trained from scratch, and one of them also with other kernels, with other
depths, without residual connections, with another norm or without, and with the norm before the activation. All have
the same images, the same recipe and equal steps. Their multiply-accumulates differ, and are beside the accuracy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.report.axes import Axis
from mixlab.report.forest_plot import forest_plot
from mixlab.report.grouped_plot import grouped_plot
from mixlab.report.table import Cell, Column, Table
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult, Quantity
from mixlab.studies.convmixer_claims import FACTORS, Base, claims, depth_name, grid_name, kernel_name, patch_effect
from mixlab.studies.from_scratch import chance, from_scratch
from mixlab.studies.grids import words
from mixlab.training.recipes.schema import Recipe

COST = "60 trainings of 25 epochs on 10,000 images"

_MODEL, _ABLATED = "convmixer_nano", "variant:ablated_convmixer"


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    patch_sizes: tuple[str, ...] = field(
        default=("1", "2", "4", "8"), metadata={"help": "Comma-separated patch sizes in pixels, for every width."}
    )
    widths: tuple[str, ...] = field(
        default=("64", "128", "256"), metadata={"help": "Comma-separated widths in channels, for every patch size."}
    )
    kernel_sizes: tuple[str, ...] = field(
        default=("3", "5", "9"), metadata={"help": "Comma-separated kernel sizes of the base network."}
    )
    depths: tuple[str, ...] = field(
        default=("4", "8", "12"), metadata={"help": "Comma-separated numbers of blocks of the base network."}
    )
    factors: tuple[str, ...] = field(
        default=FACTORS, metadata={"help": "Comma-separated changes of the base network, of those of the default."}
    )
    base_patch_size: int = field(default=4, metadata={"help": "Pixels of a patch of the base network.", "min": 1})
    base_width: int = field(default=128, metadata={"help": "Channels of the base network.", "min": 1})
    base_kernel_size: int = field(default=5, metadata={"help": "Kernel size of the base network.", "min": 1})
    base_depth: int = field(default=8, metadata={"help": "Blocks of the base network.", "min": 1})
    seeds: int = field(default=3, metadata={"help": "Trainings of each network.", "min": 2})
    epochs: int = field(default=25, metadata={"help": "Epochs of each training.", "min": 1})
    images: int = field(default=10_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    image_size: int = field(default=32, metadata={"help": "Pixels of a side.", "min": 1})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """An arm for each network. Raises UserError if a setting is not valid, or a patch does not divide the image."""
    base = _base(settings)
    _require_patches([*_numbers("patch-sizes", settings.patch_sizes), base.patch_size], settings.image_size)
    return {
        name: [_recipe(dataset, settings, model, config, seed) for seed in range(settings.seeds)]
        for name, (model, config) in _networks(settings, base).items()
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """The grid of patch sizes and widths, the other factors, and findings."""
    base = _base(settings)
    patch_sizes, widths = _numbers("patch-sizes", settings.patch_sizes), _numbers("widths", settings.widths)
    top1 = {
        f"width {width}": {f"patch {size}": trained.arm(grid_name(size, width)).top1 for size in patch_sizes}
        for width in widths
    }
    axis = Axis("Top-1", "%", "higher", digits=1)
    grid = grouped_plot(
        "Accuracy by patch size for each width",
        top1,
        axis,
        line=("chance", chance(trained.dataset)),
        caption="Points are means over seeds, lines 95 % intervals.",
    )
    others = {name: trained.arm(name).top1 for name in trained.runs if name not in _grid(patch_sizes, widths, base)}
    factors = forest_plot(
        "Accuracy with other factors",
        {base.name: trained.arm(base.name).top1, **others},
        axis,
        caption="The base network, and networks that differ from it in one factor. Lines: 95 % intervals over seeds.",
    )
    return trained.result(
        title="Which parts of a ConvMixer matter?",
        command="mixlab study convmixer",
        settings=settings,
        claims=claims(
            patch_sizes,
            widths,
            _numbers("kernel-sizes", settings.kernel_sizes),
            _numbers("depths", settings.depths),
            _factors(settings),
            base,
        ),
        quantities=_patch_effects(trained, patch_sizes, widths),
        pairs=tuple((name, base.name) for name in others),
        own_tables=(_grid_table(top1),),
        own_figures=(grid, factors) if others else (grid,),
        notes=(
            f"Networks named by one factor are the base network, {base.name}, kernel {base.kernel_size}, depth "
            f"{base.depth}, with this factor changed.",
        ),
    )


def _networks(settings: Settings, base: Base) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """For each arm, the model and the fields of its config. Values of the base network add no arm."""
    sizes = {
        "patch_size": base.patch_size,
        "channels": base.width,
        "kernel_size": base.kernel_size,
        "depth": base.depth,
    }
    grid = _grid(_numbers("patch-sizes", settings.patch_sizes), _numbers("widths", settings.widths), base)
    kernels = [k for k in _numbers("kernel-sizes", settings.kernel_sizes) if k != base.kernel_size]
    depths = [d for d in _numbers("depths", settings.depths) if d != base.depth]
    return {
        **{name: (_MODEL, sizes | changes) for name, changes in grid.items()},
        **{kernel_name(k): (_MODEL, sizes | {"kernel_size": k}) for k in kernels},
        **{depth_name(d): (_MODEL, sizes | {"depth": d}) for d in depths},
        **{factor: (_ABLATED, sizes | dict([factor.split("=")])) for factor in _factors(settings)},
    }


def _grid(patch_sizes: Sequence[int], widths: Sequence[int], base: Base) -> dict[str, dict[str, int]]:
    """For each arm of the grid and for the base network, the patch size and the width."""
    cells = [*((size, width) for width in widths for size in patch_sizes), (base.patch_size, base.width)]
    return {grid_name(size, width): {"patch_size": size, "channels": width} for size, width in cells}


def _recipe(dataset: Dataset, settings: Settings, model: str, config: Mapping[str, Any], seed: int) -> Recipe:
    """The recipe of ConvMixer, also for the changed networks."""
    return from_scratch(
        model,
        dataset,
        settings,
        seed,
        recipe_of=_MODEL,
        config=config,
    )


def _patch_effects(trained: TrainedArms, patch_sizes: Sequence[int], widths: Sequence[int]) -> tuple[Quantity, ...]:
    """The main effect of each larger patch size against the smallest: the mean over the widths, for each seed."""
    scores = {
        size: np.mean([trained.arm(grid_name(size, width)).scores for width in widths], axis=0) for size in patch_sizes
    }
    small = patch_sizes[0]
    return tuple(
        Quantity(
            patch_effect(small, large), tuple((scores[small] - scores[large]).round(9).tolist()), least=-100, most=100
        )
        for large in patch_sizes[1:]
    )


def _grid_table(top1: Mapping[str, Mapping[str, Cell]]) -> Table:
    rows: list[dict[str, Cell]] = [{"width": width, **by_size} for width, by_size in top1.items()]
    sizes = list(next(iter(top1.values())))
    columns = [Column("width", "network"), *(Column(size, size, "%", digits=1) for size in sizes)]
    return Table("Top-1 by width and patch size", columns, rows, ["± is the standard deviation over seeds."])


def _base(settings: Settings) -> Base:
    return Base(settings.base_patch_size, settings.base_width, settings.base_kernel_size, settings.base_depth)


def _numbers(option: str, texts: Sequence[str]) -> list[int]:
    """The different numbers of an option in ascending order. Raises UserError."""
    for text in texts:
        if not (text.isascii() and text.isdecimal() and int(text)):
            raise UserError(
                f'--{option} {",".join(texts)} has "{text}", which is not a whole number of 1 or more: give numbers '
                "that are separated by commas, such as 4,8."
            )
    return sorted({int(text) for text in texts})


def _factors(settings: Settings) -> tuple[str, ...]:
    """The changes of the base network. Raises UserError."""
    return words("--factors", settings.factors, FACTORS)


def _require_patches(patch_sizes: Sequence[int], image_size: int) -> None:
    """Raises UserError if a patch size does not divide the image, so that its network would not see all pixels."""
    for size in patch_sizes:
        if image_size % size:
            raise UserError(
                f"--image-size {image_size} is not a multiple of patches of {size} pixels: give a multiple, such as "
                f"{image_size // size * size or size}, or other patch sizes."
            )
