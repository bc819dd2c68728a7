"""`load`: any weights, at any resolution, strictly.

The format is recognised from the names inside, the architecture from the tensors' shapes. What shapes can't tell comes
from the caller, the Card or the folder's config.json, else from a rule that is said in one line.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixlab.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from mixlab.errors import UserError
from mixlab.models.contract import ImageSize, height_and_width
from mixlab.weights.adapt import Resize, Weights, reset_head, resize_input, resize_patches
from mixlab.weights.config_inference import ShapeMismatch, config_from_shapes, default_fields
from mixlab.weights.formats import Format, detect_format, renumbered
from mixlab.weights.source import Source, find_source
from mixlab.weights.storage.weights_file import WeightsFile, open_weights_file
from mixlab.weights.strict import require_same_tensors
from mixlab.zoo.build import Model, build
from mixlab.zoo.class_names import indices

_log = logging.getLogger("mixlab")


@dataclass(frozen=True)
class Pretrained:
    weights: Weights
    classes: tuple[str, ...]  # names
    preprocess: Preprocess


def load(
    source: str | Path,
    *,
    image_size: ImageSize | None = None,
    classes: int | None = None,
    resize: Resize | None = None,
    **config_fields: Any,
) -> Model:
    """The model with these weights, in evaluation mode, in fp32, on the CPU.

    `source`: a name that `mixlab models --pretrained` lists, timm:NAME.TAG, hub:owner/name, a run's folder, another
    folder of weights, or a file, in any format that `mixlab convert` knows. `image_size` in pixels, None as in the
    file: a Mixer's token MLPs are enlarged exactly (each part as an image before: Tolstikhin et al. 2021, appendix C)
    where both sides grow by one whole factor, else resampled; `resize` forces one. `classes`, None as in the file:
    another number gets a new head that starts at zero, 0 none. `config_fields` say what shapes can't tell, as `heads`;
    another `patch_size` than the file's resizes the stem (Beyer et al. 2023, section 3). Raises UserError.
    """
    opened = load_pretrained(source, image_size=image_size, classes=classes, resize=resize, **config_fields)
    return build_with_weights(opened.weights)


def load_pretrained(
    source: str | Path,
    *,
    image_size: ImageSize | None = None,
    classes: int | None = None,
    resize: Resize | None = None,
    **config_fields: Any,
) -> Pretrained:
    """As `load`, before the model is built, with the names of the classes and the preprocessing."""
    found = find_source(source)
    if found.family == "timm":
        return _from_timm(found, {"image_size": image_size, "classes": classes, "resize": resize, **config_fields})
    weights = identify_weights(found, image_size, config_fields).weights()
    if "patch_size" in config_fields:
        weights = resize_patches(weights, config_fields["patch_size"])
    if image_size is not None:
        weights = resize_input(weights, image_size, resize, window=config_fields.get("window"))
    if classes is not None:
        weights = reset_head(weights, classes)
    count = weights.config["classes"]
    names = found.classes if found.classes and len(found.classes) == count else indices(count)
    preprocess = found.preprocess or _PREPROCESS[weights.family]
    size = height_and_width(weights.config["image_size"])
    return Pretrained(weights, names, replace(preprocess, image_size=size))


def build_with_weights(weights: Weights) -> Model:
    """In evaluation mode; the tensors become the model's, nothing is copied."""
    with torch.device("cpu" if weights.family == "timm" else "meta"):  # timm's have buffers that no file holds
        model = build(weights.family, weights.config)
    model.load_state_dict(weights.tensors, assign=True)
    return model.eval()


@dataclass(frozen=True)
class IdentifiedWeights:
    """What a file holds, before its tensors are read: every one of them has its place in the model."""

    checkpoint: WeightsFile
    format: Format
    names: Mapping[str, str]  # theirs by ours
    config: Mapping[str, Any]  # complete

    def weights(self) -> Weights:
        """In fp32."""
        tensors = {
            ours: _fp32(self.format.from_file(self.checkpoint.tensor(theirs))) for ours, theirs in self.names.items()
        }
        return Weights(self.format.family, self.config, tensors)


def identify_weights(source: Source, image_size: ImageSize | None, given: Mapping[str, Any]) -> IdentifiedWeights:
    """`image_size` is asked only where the file's own can't be told. Raises UserError: misfits list both sides."""
    checkpoint = open_weights_file(source.path)
    format = detect_format(checkpoint.stored, source.path)
    names = _rename_tensors(checkpoint, format)
    if source.family not in (None, format.family):
        raise UserError(
            f"{source.path} holds a {format.family}, where a {source.family} was expected: it is another model's file. "
            "Give the right one, or fetch it anew."
        )
    shapes = {ours: format.shape_from_file(checkpoint.stored[theirs].shape) for ours, theirs in names.items()}
    inferred = _inferred_fields(format, names, shapes, source.path)
    config = _complete(format, inferred, shapes, source, image_size, given)
    with torch.device("meta"):
        model = build(format.family, config)
    require_same_tensors(model, shapes, source.path, called=lambda ours: names.get(ours, ours))
    for ours, tensor in model.state_dict().items():
        stored = checkpoint.stored[names[ours]].dtype
        if tensor.is_floating_point() and not stored.is_floating_point:
            raise UserError(
                f"{source.path} holds {names[ours]} as {stored}, where weights are floating-point numbers: quantised "
                "weights can't be read. Give the file that they were made from."
            )
    return IdentifiedWeights(checkpoint, format, names, asdict(model.config))


def _rename_tensors(checkpoint: WeightsFile, format: Format) -> dict[str, str]:
    """Their name by ours; a name that no rule fits stays, so that the strict comparison lists it."""
    names: dict[str, str] = {}
    theirs = [name for name in checkpoint.stored if name.startswith(format.within)]
    if left_out := len(checkpoint.stored) - len(theirs):
        _log.warning(
            f"{checkpoint.path}: the image tower alone is read, {left_out:,} tensors of other parts are left out."
        )
    for name in theirs:
        ours = format.ours(renumbered(name, theirs) if format.layout == "old flax" else name) or name
        if ours in names:
            raise UserError(
                f"{checkpoint.path} holds {ours} twice, as {names[ours]} and as {name}: it can't be told which is "
                "meant. Remove one."
            )
        names[ours] = name
    return names


def _inferred_fields(
    format: Format, names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], path: Path
) -> dict[str, Any]:
    """The fields of the config that the shapes tell."""
    try:
        return config_from_shapes(format.family, shapes)
    except ShapeMismatch as error:
        theirs = names.get(error.name) or format.theirs(error.name, {})
        found = f"{theirs} of the shape {error.shape}" if error.shape is not None else f"no {theirs}"
        raise UserError(
            f"{path} has {found}, where a {format.family} needs {error.wanted}: it is cut off or another model's. "
            "Fetch it anew, or give another."
        ) from error


def _complete(
    format: Format,
    inferred: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    source: Source,
    image_size: ImageSize | None,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """`inferred` by the shapes, with what the source says, the caller has given, or a rule takes; that is said."""
    path = source.path
    if format.name == "mmpretrain_davit" and not given.keys() >= {"head_order", "stem_padding"}:
        raise UserError(
            f"{path} is mmpretrain's DaViT, which computes another function than the authors' from the same tensors: "
            'give head_order="norm-pool" and stem_padding="same" for what mmpretrain computes, or "pool-norm" and '
            '"symmetric" for weights that it converted from the authors\'.'
        )
    said = {**source.config, **{name: value for name, value in given.items() if name != "patch_size"}}
    rule = default_fields(format.family, inferred, shapes)
    if format.family == "mixer" and image_size is not None and "image_size" not in said:
        rows, columns = (side // inferred["patch_size"] for side in height_and_width(image_size))
        if rows * columns == shapes["body.0.token_mlp.first.weight"][1]:  # then it is the file's own
            said["image_size"] = image_size
    assumed = {
        name: value
        for name, value in {**format.implied, **rule}.items()
        if name not in said and name != "channel_attention"  # which the names say
    }
    config = {**assumed, **inferred, **format.implied, **said}
    if "image_size" not in config:
        patches = shapes["body.0.token_mlp.first.weight"][1]
        raise UserError(
            f"{path} holds a Mixer whose {patches} patches of {inferred['patch_size']} pixels fill no square: give "
            "image_size=(height, width) of the images that it was trained with."
        )
    if format.family == "davit" and "heads" not in config:
        raise UserError(
            f"{path} holds a DaViT with {', '.join(map(str, inferred['channels']))} channels, from which its heads "
            "can't be told: 32 channels each, as in the published sizes, does not divide. Give heads=(...), one a "
            "stage, and window=..., the patches of a window's side."
        )
    if assumed:
        listed = ", ".join(f"{name}={value!r}" for name, value in assumed.items())
        _log.warning(f"{path} does not say, so it is taken as {format.name} files are: {listed}.")
    return config


# What the published weights of a family are asked with, where the source does not say.
_PREPROCESS = {
    "mixer": Preprocess((224, 224), "shorter_side", 0.875),
    "convmixer": Preprocess((224, 224), "shorter_side", 0.96, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "davit": Preprocess((224, 224), "shorter_side", 0.95, mean=IMAGENET_MEAN, std=IMAGENET_STD),
}


def _fp32(tensor: Tensor) -> Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _from_timm(source: Source, asked: Mapping[str, Any]) -> Pretrained:
    """Weights of one of timm's models, as they were trained: a run's, or published by timm."""
    for name, value in asked.items():
        if value is not None:
            raise UserError(
                f"{name}={value} can't be given for {source.path}, weights of a model of timm's: mixlab changes "
                "its own families alone. Leave it out."
            )
    assert source.preprocess is not None
    checkpoint = open_weights_file(source.path)
    # A run's tensors have the names that they have in a TimmModel, published ones those within its network.
    within = "" if all(name.startswith("network.") for name in checkpoint.stored) else "network."
    shapes = {f"{within}{name}": stored.shape for name, stored in checkpoint.stored.items()}
    require_same_tensors(
        build("timm", source.config), shapes, source.path, called=lambda ours: ours.removeprefix(within)
    )
    tensors = {f"{within}{name}": _fp32(checkpoint.tensor(name)) for name in checkpoint.stored}
    names = source.classes or indices(source.config["classes"])
    return Pretrained(Weights("timm", source.config, tensors), names, source.preprocess)
