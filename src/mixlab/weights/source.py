"""Finds weights, and what is known about their model in addition to the tensors.

A source is the name of published weights (mixer_b16.goog_in1k, or the full name in timm), timm:NAME.TAG for weights
that timm publishes for its own models, hub:owner/name, the folder of a run, a folder with config.json (of mixlab or of
timm), or a weights file.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixlab.data.any_preprocess import AnyPreprocess, preprocess_from_dict
from mixlab.data.preprocess import Preprocess
from mixlab.download import download
from mixlab.errors import UserError, did_you_mean
from mixlab.files import cache_folder
from mixlab.runs.folder import open_run
from mixlab.weights.exported import is_exported
from mixlab.weights.hub import cached_weights, hub_folder
from mixlab.zoo import user_code
from mixlab.zoo.architecture import make_config
from mixlab.zoo.cards import Card, find_card, list_cards
from mixlab.zoo.class_names import class_names, names_need_timm
from mixlab.zoo.sizes import list_models
from mixlab.zoo.timm_models import published_by_timm


@dataclass(frozen=True, kw_only=True)
class Source:
    """The location of weights, and the known properties of their model.

    `path` is a file or folder with the tensors. `family` is None if the tensor names determine it. `config` has all
    fields or some of them. `classes` are the class names, None if they are unknown; `names_need_timm` is True if they
    are unknown because timm is not installed. `task` is what the model has learned, and `fitted` what
    its predictions need in addition to the tensors (`mixlab.tasks.task.Task`).
    """

    path: Path
    family: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    preprocess: AnyPreprocess | None = None
    names_need_timm: bool = False
    task: str = "classification"
    fitted: Mapping[str, Any] = field(default_factory=dict)


def find_source(source: str | Path) -> Source:
    """Finds the weights that `source` names, and downloads them if they are not on this machine.

    Raises UserError if nothing has this name, the download fails, config.json is damaged, or it is an exported model.
    """
    path = Path(source).expanduser()
    if is_exported(path):
        raise UserError(
            f"{source} is an exported model, whose weights can't be read: give the run or the weights that it was "
            "exported from."
        )
    if path.exists():
        return _from_folder(path) if path.is_dir() else Source(path=path)
    name = str(source)
    if name.startswith("hub:"):
        return _from_hub(name.removeprefix("hub:"))
    if name.startswith("timm:"):
        return _published_by_timm(name.removeprefix("timm:"))
    if card := find_card(name):
        return _from_card(card, _download(card))
    raise UserError(_unknown_source(name))


def is_pretrained(model: str) -> bool:
    """Whether a model name stands for pretrained weights. Downloads nothing.

    False for a size and for timm:NAME, which have random weights; True for timm:NAME.TAG, a published name, hub:NAME
    and an existing path.
    """
    if model.startswith(("papers:", "variant:", "py:")):
        return False
    if model.startswith("timm:"):
        return "." in model.split(":")[1]
    if model in list_models():
        return False
    return model.startswith("hub:") or find_card(model) is not None or Path(model).expanduser().exists()


def _from_folder(path: Path) -> Source:
    if any((path / name).exists() for name in ("status.json", "recipe.toml")):
        run = open_run(path)
        return _from_mixlab_folder(run.path, run.config)
    if not (path / "config.json").exists():
        return Source(path=path)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path / 'config.json'} is not valid JSON ({error}): copy the folder again.") from error
    if "family" in config and "model_type" not in config:  # transformers adds it when it saves a model that it trained
        return _from_mixlab_folder(path, config)
    if "architecture" in config:
        return _from_timm_folder(path, config)
    return Source(path=path)


def public_model(model: str) -> str:
    """The name of a model without the local path of pretrained weights."""
    return model if model.startswith(("hub:", "timm:")) else Path(model).name


def task_of(source: str | Path) -> str:
    """The task of a run or of another folder of mixlab; classification for all other weights."""
    config = Path(source).expanduser() / "config.json"
    if not config.is_file():
        return "classification"
    try:
        return json.loads(config.read_text(encoding="utf-8")).get("task", "classification")
    except ValueError:  # the error is reported when the weights are read
        return "classification"


def _from_mixlab_folder(path: Path, config: Mapping[str, Any]) -> Source:
    return Source(
        path=path / "model.safetensors",
        family=_family(path, config["family"]),
        config=config["config"],
        classes=tuple(config["classes"]),
        preprocess=preprocess_from_dict(config["preprocess"]),
        task=config.get("task", "classification"),
        fitted=config.get("fitted", {}),
    )


def _family(folder: Path, stored: str) -> str:
    """The family of a stored config; user code is the copy in the folder. Raises UserError if it is not trusted."""
    if not stored.startswith("py:"):
        return stored
    file = folder.resolve() / user_code.COPY
    user_code.require_trusted(file)
    return f"py:{file}:{stored.rpartition(':')[2]}"


_TIMM_ARGUMENTS = {"window_size": "window", "num_heads": "heads", "img_size": "image_size"}


def _from_timm_folder(path: Path, config: Mapping[str, Any]) -> Source:
    """A folder of timm, saved locally or from the hub. If it is a published model, its Card is used."""
    published = config.get("pretrained_cfg", {})
    if card := find_card(f"{config['architecture']}.{published.get('tag')}"):
        return _from_card(card, path)
    arguments = config.get("model_args", {})
    fields = {name: arguments[argument] for argument, name in _TIMM_ARGUMENTS.items() if argument in arguments}
    if arguments.get("head_norm_first"):
        fields["head_order"] = "norm-pool"
    _, height, width = published.get("input_size", (3, 224, 224))
    names = config.get("label_names", published.get("label_names"))
    return Source(
        path=path,
        config={"image_size": (height, width) if height != width else height} | fields,
        classes=tuple(names) if names else None,
        preprocess=_timm_preprocess(published) if published.keys() >= {"mean", "std", "crop_pct"} else None,
    )


def _timm_preprocess(published: Mapping[str, Any]) -> Preprocess:
    _, height, width = published["input_size"]
    red, green, blue = map(float, published["mean"])
    red_std, green_std, blue_std = map(float, published["std"])
    return Preprocess(
        image_size=(height, width),
        resize="stretch_and_crop" if published.get("crop_mode") == "squash" else "shorter_side",
        crop_fraction=float(published["crop_pct"]),
        interpolation="bilinear" if published.get("interpolation") == "bilinear" else "bicubic",
        mean=(red, green, blue),
        std=(red_std, green_std, blue_std),
    )


def _from_hub(name: str) -> Source:
    folder = hub_folder(name)
    for card in list_cards():
        if any(source.kind == "hub" and source.address == name for source in card.sources):
            return _from_card(card, folder)
    return _from_folder(folder)


def _published_by_timm(name: str) -> Source:
    published = published_by_timm(name)
    classes = published.num_classes
    preprocess = _timm_preprocess(asdict(published))
    config = {"name": name.partition(".")[0], "image_size": preprocess.image_size, "classes": classes}
    return Source(
        path=cached_weights(published.hf_hub_id) or hub_folder(published.hf_hub_id),
        family="timm",
        config=asdict(make_config("timm", config)),
        classes=class_names("imagenet-1k", classes) if classes == 1000 else None,
        preprocess=preprocess,
    )


def _from_card(card: Card, path: Path) -> Source:
    return Source(
        path=path,
        family=card.family,
        config=asdict(make_config(card.family, card.config)),
        classes=class_names(card.labels, card.config["classes"]),
        preprocess=Preprocess.from_dict(card.preprocess),
        names_need_timm=names_need_timm(card.labels),
    )


def _download(card: Card) -> Path:
    """The first file of the Card that is on this machine; if there is none, downloads the first file."""
    targets = {
        source: cache_folder() / "weights" / card.name / source.file for source in card.sources if source.kind == "url"
    }
    for target in targets.values():
        if target.exists():
            return target
    for source in card.sources:  # timm downloads to the hub's cache
        if source.kind == "hub" and (folder := cached_weights(source.address)):
            return folder
    first = card.sources[0]
    if first.kind == "hub":
        return hub_folder(first.address)
    return download(first.address, targets[first], None if first.sha256 == "unknown" else first.sha256)


def _unknown_source(name: str) -> str:
    published = [card.name for card in list_cards()]
    weights_of_size = [known for known in published if known.startswith(f"{name}.")]
    if weights_of_size:
        return (
            f'"{name}" is a size, not weights: its published weights are {", ".join(weights_of_size)}. For random '
            "weights, use mixlab.create_model in Python."
        )
    if name in list_models():
        return f'"{name}" is a size without published weights: for random weights, use mixlab.create_model in Python.'
    return (
        f'No weights have the name or path "{name}": give the folder that mixlab train printed, a name that '
        f"`mixlab models --pretrained` lists, hub:owner/name, or a file. {did_you_mean(name, published)}"
    ).rstrip()
