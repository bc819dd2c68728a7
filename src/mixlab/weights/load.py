"""`load`: strict loading of any weights, at any resolution.

The format is detected from the tensor names, and the architecture from the tensor shapes. Config fields that the shapes
do not determine come from the caller, the Card or config.json, or else from a default, which is logged in one line.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mixlab.data.any_preprocess import AnyPreprocess, require_images
from mixlab.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from mixlab.errors import UserError
from mixlab.files import translate_access_errors
from mixlab.models.contract import ImageSize, height_and_width
from mixlab.report.text import pluralize
from mixlab.weights.adapt import Resize, Weights, reset_head, resize_input, resize_patches, resize_segmenter
from mixlab.weights.config_inference import ShapeMismatch, config_from_shapes, default_fields
from mixlab.weights.formats import Format, added_prefix, detect_format, renumber_layers
from mixlab.weights.source import Source, find_source
from mixlab.weights.storage.weights_file import WeightsFile, open_weights_file
from mixlab.weights.strict import require_same_tensors
from mixlab.zoo.architecture import FAMILIES, Architecture, Model, make_config, of_family
from mixlab.zoo.class_names import index_names

_log = logging.getLogger("mixlab")


@dataclass(frozen=True)
class Pretrained:
    """Weights with their class names and preprocessing.

    `classes` has the names of the classes, or their indices ("0", "1", ...) if `has_class_names` is False.
    `names_need_timm` is True if the names are unknown because timm is not installed. `unchanged` has the weights of the
    source if `weights` have another image size, patch size or head. `task` and `fitted` are those of `Source`.
    """

    weights: Weights
    classes: tuple[str, ...]
    preprocess: AnyPreprocess
    has_class_names: bool = True
    names_need_timm: bool = False
    unchanged: Weights | None = None
    task: str = "classification"
    fitted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_preprocess(self) -> Preprocess:
        """`preprocess` of a model for images. Raises UserError for a model that reads texts."""
        return require_images(self.preprocess)

    @property
    def source_digest(self) -> str:
        """SHA-256 of the tensors of the source, in hexadecimal. It does not depend on the requested image size."""
        return (self.unchanged or self.weights).digest


def load(
    source: str | Path,
    *,
    image_size: ImageSize | None = None,
    classes: int | None = None,
    resize: Resize | None = None,
    **config_fields: Any,
) -> Model:
    """Loads a model with pretrained weights, in evaluation mode, in fp32, on the CPU.

    source: a name that `mixlab models --pretrained` lists, timm:NAME.TAG, hub:owner/name, the folder of a run, another
        folder of weights, or a file in any format that `mixlab convert` writes.
    image_size: in pixels; None keeps the size of the weights. If both sides grow by the same integer factor, the token
        MLPs of a Mixer are enlarged exactly: each tile is processed like an image of the old size (Tolstikhin et al.
        2021, appendix C). Otherwise they are resampled.
    classes: None keeps the head. Another number replaces the head by a new one, which is zero; 0 removes it.
    resize: "exact" or "resampled" selects how the token MLPs are resized.
    config_fields: fields that the shapes of the tensors do not determine, such as `heads`. A `patch_size` other than
        that of the weights resizes the stem (Beyer et al. 2023, section 3).

    Raises UserError if the weights can't be found or read, or do not match the model.
    """
    pretrained = load_pretrained(source, image_size=image_size, classes=classes, resize=resize, **config_fields)
    return build_with_weights(pretrained.weights)


@translate_access_errors()
def load_pretrained(
    source: str | Path,
    *,
    image_size: ImageSize | None = None,
    classes: int | None = None,
    resize: Resize | None = None,
    **config_fields: Any,
) -> Pretrained:
    """Like `load`, but returns the weights without building the model, with the class names and the preprocessing."""
    resolved = find_source(source)
    if resolved.family is not None and resolved.family not in FAMILIES:
        options = {"image_size": image_size, "classes": classes, "resize": resize, **config_fields}
        return _load_unchanged(resolved, options)
    weights = unchanged = identify_weights(resolved, image_size, config_fields).weights()
    if "patch_size" in config_fields:
        weights = resize_patches(weights, config_fields["patch_size"])
    if image_size is not None:
        weights = resize_input(weights, image_size, resize, window=config_fields.get("window"))
    if classes is not None:
        weights = reset_head(weights, classes)
    count = weights.config["classes"]
    names = resolved.classes if resolved.classes and len(resolved.classes) == count else None
    preprocess = resolved.preprocess or _PREPROCESS[weights.family]
    size = height_and_width(weights.config["image_size"])
    return Pretrained(
        weights,
        names or index_names(count),
        replace(preprocess, image_size=size),
        has_class_names=names is not None,
        names_need_timm=resolved.names_need_timm and count == resolved.config["classes"],
        unchanged=unchanged,
        task=resolved.task,
        fitted=resolved.fitted,
    )


def build_with_weights(weights: Weights) -> Model:
    """Builds the model in evaluation mode. It uses the tensors of `weights` without a copy."""
    device = torch.device("cpu" if weights.family == "timm" else "meta")  # timm's buffers may not be in the file
    with device, torch.random.fork_rng(devices=[]):
        model = weights.architecture.build()
    model.load_state_dict(weights.tensors, assign=True)
    return model.float().eval()  # timm's buffers have torch's default dtype


def load_backbone(model: Model, weights: Weights) -> None:
    """Copies the tensors of a network into the backbone of a segmenter.

    A head in `weights` is not used. The norms of the feature maps stay new where `weights` have none, as with a DaViT
    that normalises the pooled features. Raises UserError if other tensors are missing.
    """
    backbone = model.get_submodule("backbone")
    expected = backbone.state_dict()
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name in expected}
    if missing := [name for name in expected if name not in tensors and not name.startswith("norm.")]:
        raise UserError(
            f"The weights of family {weights.family} lack {pluralize(len(missing), 'tensor')} of the model, such as "
            f"{missing[0]}: give weights of the same size."
        )
    backbone.load_state_dict(tensors, strict=False)


@dataclass(frozen=True)
class IdentifiedWeights:
    """An open weights file with its format and config; its tensors match the model, but are not read yet.

    `names` maps the names of the model to the names in the file, and `config` has every field.
    """

    file: WeightsFile
    format: Format
    names: Mapping[str, str]
    config: Mapping[str, Any]

    def weights(self) -> Weights:
        """Reads all tensors, in fp32."""
        tensors = {
            name: _fp32(self.format.from_file(self.file.tensor(file_name))) for name, file_name in self.names.items()
        }
        return Weights(self.format.family, self.config, tensors)


def identify_weights(source: Source, image_size: ImageSize | None, given: Mapping[str, Any]) -> IdentifiedWeights:
    """Detects format and config of a file, and compares its tensors with the model.

    `image_size` is taken as the image size of the file if it fits the number of patches of a Mixer. `given` are config
    fields of the caller. Raises UserError, with both sides listed if the tensors do not match the model.
    """
    file = _open_without_added_prefix(source.path)
    format = detect_format(file.stored, source.path)
    names = _rename_tensors(file, format)
    if source.family not in (None, format.family):
        raise UserError(
            f"{source.path} contains a {format.family}, but a {source.family} is expected: it is the file of another "
            "model. Give the correct file, or download it again."
        )
    shapes = {name: format.shape_from_file(file.stored[file_name].shape) for name, file_name in names.items()}
    inferred = _inferred_fields(format, names, shapes, source.path)
    config = _complete_config(format, inferred, shapes, source, image_size, given)
    model = of_family(format.family, format.family, config).on_meta()
    require_same_tensors(model, shapes, source.path, display_name=lambda name: names.get(name, name))
    for name, tensor in model.state_dict().items():
        dtype = file.stored[names[name]].dtype
        if tensor.is_floating_point() and not dtype.is_floating_point:
            raise UserError(
                f"{source.path} stores {names[name]} as {dtype}, but weights must be floating-point: quantised weights "
                "are not supported. Give the file before quantisation."
            )
    return IdentifiedWeights(file, format, names, asdict(model.config))


def _open_without_added_prefix(path: Path) -> WeightsFile:
    """Raises UserError if only a part of the names has a prefix that another program added."""
    file = open_weights_file(path)
    prefix = added_prefix(file.stored)
    if others := [name for name in file.stored if not name.startswith(prefix)]:
        raise UserError(
            f'{path} contains a model under the prefix "{prefix}", and {pluralize(len(others), "other tensor")}, such '
            f"as {others[0]}: save only the tensors of the model, without the prefix."
        )
    return file.without_prefix(prefix) if prefix else file


def _rename_tensors(file: WeightsFile, format: Format) -> dict[str, str]:
    """Names in the file by names in the model. A name without a rule is kept, so the strict comparison lists it."""
    names: dict[str, str] = {}
    file_names = [name for name in file.stored if name.startswith(format.prefix)]
    if ignored := len(file.stored) - len(file_names):
        _log.warning(
            f"{file.path}: only the image tower is read, {ignored:,} of {len(file.stored):,} tensors are ignored."
        )
    for file_name in file_names:
        linen_name = renumber_layers(file_name, file_names) if format.layout == "old flax" else file_name
        name = format.to_mixlab_name(linen_name) or file_name
        if name in names:
            raise UserError(
                f"{file.path} contains {name} twice, as {names[name]} and as {file_name}, so it is ambiguous. "
                "Remove one of them."
            )
        names[name] = file_name
    return names


def _inferred_fields(
    format: Format, names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], path: Path
) -> dict[str, Any]:
    """The config fields that the shapes determine. Raises UserError if a tensor is missing or has a wrong shape."""
    try:
        return config_from_shapes(format.family, shapes)
    except ShapeMismatch as error:
        file_name = names.get(error.name) or format.to_file_name(error.name, {})
        actual = f"{file_name} with shape {error.shape}" if error.shape is not None else f"no {file_name}"
        raise UserError(
            f"{path} has {actual}, but a {format.family} needs the shape {error.expected}: the file is incomplete or "
            "belongs to another model. Download it again, or give another file."
        ) from error


def _complete_config(
    format: Format,
    inferred: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    source: Source,
    image_size: ImageSize | None,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Completes the `inferred` fields with those of the source, of the caller, and with defaults, which are logged.

    Raises UserError if a field is unknown and has no default.
    """
    path = source.path
    if format.name == "mmpretrain_davit" and not given.keys() >= {"head_order", "stem_padding"}:
        raise UserError(
            f"{path} is a DaViT of mmpretrain, which computes a different function from the authors' code with the "
            'same tensors: give head_order="norm-pool" and stem_padding="same" for the function of mmpretrain, or '
            '"pool-norm" and "symmetric" for weights that were converted from the authors\' files.'
        )
    known = {**source.config, **{name: value for name, value in given.items() if name != "patch_size"}}
    defaults = default_fields(format.family, inferred, shapes)
    if format.family == "mixer" and image_size is not None and "image_size" not in known:
        rows, columns = (side // inferred["patch_size"] for side in height_and_width(image_size))
        if rows * columns == shapes["body.0.token_mlp.first.weight"][1]:  # then the file has this image size
            known["image_size"] = image_size
    assumed = {
        name: value
        for name, value in {**format.implied, **defaults}.items()
        if name not in known and name != "channel_attention"  # the tensor names determine it
    }
    config = {**assumed, **inferred, **format.implied, **known}
    if "image_size" not in config:
        patches = shapes["body.0.token_mlp.first.weight"][1]
        raise UserError(
            f"{path} contains a Mixer with {patches} patches of {inferred['patch_size']} pixels, which do not form a "
            "square: give image_size=(height, width) of the training images."
        )
    if format.family == "davit" and "heads" not in config:
        raise UserError(
            f"{path} contains a DaViT with {', '.join(map(str, inferred['channels']))} channels, so its heads are "
            "unknown: the default, channels / 32, is not an integer. Give heads=(...), one number for each stage, and "
            "window=..., the side of a window in patches."
        )
    if assumed:
        listed = ", ".join(f"{name}={value!r}" for name, value in assumed.items())
        _log.warning(f"{path} does not store these fields, so the defaults of {format.name} files are used: {listed}.")
    return config


_PREPROCESS = {  # of the published weights of each family; the default if the source has none
    "mixer": Preprocess((224, 224), "shorter_side", 0.875),
    "convmixer": Preprocess((224, 224), "shorter_side", 0.96, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "davit": Preprocess((224, 224), "shorter_side", 0.95, mean=IMAGENET_MEAN, std=IMAGENET_STD),
}


def _fp32(tensor: Tensor) -> Tensor:
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _load_unchanged(source: Source, options: Mapping[str, Any]) -> Pretrained:
    """Weights of a timm model, of a variant, of a segmenter or of user code.

    Raises UserError for every option but `classes`, and the image size of a segmenter.
    """
    assert source.family is not None and source.preprocess is not None
    changed = ("classes", "image_size", "resize") if source.family == "segmenter" else ("classes",)
    stored = {**source.config, **source.config.get("backbone_config", {})}
    for name, value in options.items():
        as_stored = list(value) if isinstance(value, tuple) else value
        if value is not None and name not in changed and stored.get(name) not in (value, as_stored):
            raise UserError(
                f"{name}={value} is not supported for {source.path}, weights of family {source.family}: mixlab changes "
                "only Mixers, ConvMixers and DaViTs. Leave it out."
            )
    file = open_weights_file(source.path)
    # The tensors of a run have the names of a TimmModel, those of published weights the names of its network.
    is_network = source.family == "timm" and not all(name.startswith("network.") for name in file.stored)
    prefix = "network." if is_network else ""
    shapes = {f"{prefix}{name}": file.stored[name].shape for name in file.stored}
    config = asdict(make_config(source.family, source.config))  # a run stores tuples as lists
    model = Architecture(source.family, source.family, config).on_meta()
    require_same_tensors(model, shapes, source.path, display_name=lambda name: name.removeprefix(prefix))
    tensors = {f"{prefix}{name}": _fp32(file.tensor(name)) for name in file.stored}
    weights = unchanged = Weights(source.family, config, tensors)
    preprocess = source.preprocess
    if source.family == "segmenter" and options["image_size"] is not None:
        weights = resize_segmenter(weights, options["image_size"], options["resize"])
        preprocess = replace(preprocess, image_size=height_and_width(options["image_size"]))
    if options["classes"] is not None:
        weights = reset_head(weights, options["classes"])
    count = weights.config["classes"]
    classes = source.classes if source.classes and len(source.classes) == count else None
    return Pretrained(
        weights,
        classes or index_names(count),
        preprocess,
        has_class_names=classes is not None,
        unchanged=unchanged,
        task=source.task,
        fitted=source.fitted,
    )
