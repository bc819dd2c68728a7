"""Where weights lie, and what is known of their model besides its tensors.

A source is a published model's name (mixer_b16.goog_in1k, or timm's full name for it), timm:NAME.TAG for weights that
timm publishes for a model of its own, hub:owner/name, a run's folder, a folder with config.json (ours, or timm's from
the hub), or a file of weights.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixlab.data.preprocess import Preprocess
from mixlab.download import download
from mixlab.errors import UserError, did_you_mean
from mixlab.files import cache_folder
from mixlab.runs.folder import open_run
from mixlab.weights.hub import cached_weights, hub_folder
from mixlab.zoo import user_code
from mixlab.zoo.architecture import make_config
from mixlab.zoo.cards import Card, find_card, list_cards
from mixlab.zoo.class_names import class_names
from mixlab.zoo.sizes import list_models
from mixlab.zoo.timm_models import published_by_timm


@dataclass(frozen=True, kw_only=True)
class Source:
    """`path` holds the tensors; `config` the fields that are known, all of them or some."""

    path: Path
    family: str | None = None  # None: the tensors' names tell
    config: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None


def find_source(source: str | Path) -> Source:
    """Raises UserError. What is on this machine touches no network."""
    path = Path(source).expanduser()
    if path.exists():
        return _folder(path) if path.is_dir() else Source(path=path)
    name = str(source)
    if name.startswith("hub:"):
        return _on_hub(name.removeprefix("hub:"))
    if name.startswith("timm:"):
        return _of_timm(name.removeprefix("timm:"))
    if published := find_card(name):
        return _published(published, _fetched(published))
    raise UserError(_unknown(name))


def is_pretrained(model: str) -> bool:
    """A size and timm:NAME stand for fresh weights; timm:NAME.TAG, a published model, a run and a file for theirs.

    Fetches nothing.
    """
    if model.startswith(("variant:", "py:")):
        return False
    if model.startswith("timm:"):
        return "." in model.split(":")[1]
    if model in list_models():
        return False
    return model.startswith("hub:") or find_card(model) is not None or Path(model).expanduser().exists()


def _folder(path: Path) -> Source:
    if any((path / name).exists() for name in ("status.json", "recipe.toml")):
        run = open_run(path)
        return _ours(run.path, run.config)
    if not (path / "config.json").exists():
        return Source(path=path)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path / 'config.json'} is no JSON ({error}): copy the folder anew.") from error
    if "family" in config:
        return _ours(path, config)
    if "architecture" in config:
        return _from_timm(path, config)
    return Source(path=path)


def _ours(path: Path, config: Mapping[str, Any]) -> Source:
    return Source(
        path=path / "model.safetensors",
        family=_family(path, config["family"]),
        config=config["config"],
        classes=tuple(config["classes"]),
        preprocess=Preprocess.from_dict(config["preprocess"]),
    )


def _family(folder: Path, stored: str) -> str:
    """The user's own code is the copy in the folder. Raises UserError where that may not run."""
    if not stored.startswith("py:"):
        return stored
    file = folder.resolve() / user_code.COPY
    user_code.require_trusted(file)
    return f"py:{file}:{stored.rpartition(':')[2]}"


_FROM_TIMM_FIELDS = {"window_size": "window", "num_heads": "heads", "img_size": "image_size"}


def _from_timm(path: Path, config: Mapping[str, Any]) -> Source:
    """A folder as timm saves it, or has it on the hub: the Card's where it is a published model's."""
    published = config.get("pretrained_cfg", {})
    if known := find_card(f"{config['architecture']}.{published.get('tag')}"):
        return _published(known, path)
    arguments = config.get("model_args", {})
    told = {ours: arguments[theirs] for theirs, ours in _FROM_TIMM_FIELDS.items() if theirs in arguments}
    if arguments.get("head_norm_first"):
        told["head_order"] = "norm-pool"
    _, height, width = published.get("input_size", (3, 224, 224))
    names = config.get("label_names", published.get("label_names"))
    return Source(
        path=path,
        config={"image_size": (height, width) if height != width else height} | told,
        classes=tuple(names) if names else None,
        preprocess=_timm_preprocess(published) if published.keys() >= {"mean", "std", "crop_pct"} else None,
    )


def _timm_preprocess(published: Mapping[str, Any]) -> Preprocess:
    _, height, width = published["input_size"]
    red, green, blue = map(float, published["mean"])
    red_std, green_std, blue_std = map(float, published["std"])
    return Preprocess(
        image_size=(height, width),
        resize="shorter_side",
        crop_fraction=float(published["crop_pct"]),
        interpolation="bilinear" if published.get("interpolation") == "bilinear" else "bicubic",
        mean=(red, green, blue),
        std=(red_std, green_std, blue_std),
    )


def _on_hub(name: str) -> Source:
    folder = hub_folder(name)
    for published in list_cards():
        if any(source.kind == "hub" and source.address == name for source in published.sources):
            return _published(published, folder)
    return _folder(folder)


def _of_timm(name: str) -> Source:
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


def _published(card: Card, path: Path) -> Source:
    return Source(
        path=path,
        family=card.family,
        config=asdict(make_config(card.family, card.config)),
        classes=class_names(card.labels, card.config["classes"]),
        preprocess=Preprocess.from_dict(card.preprocess),
    )


def _fetched(card: Card) -> Path:
    """The first of the Card's files that is on this machine, else the first that can be fetched."""
    targets = {
        source: cache_folder() / "weights" / card.name / source.file for source in card.sources if source.kind == "url"
    }
    for target in targets.values():
        if target.exists():
            return target
    for source in card.sources:  # as timm leaves them in the hub's cache
        if source.kind == "hub" and (folder := cached_weights(source.address)):
            return folder
    first = card.sources[0]
    if first.kind == "hub":
        return hub_folder(first.address)
    return download(first.address, targets[first], None if first.sha256 == "unknown" else first.sha256)


def _unknown(name: str) -> str:
    published = [card.name for card in list_cards()]
    own = [known for known in published if known.startswith(f"{name}.")]
    hint = ""
    if own:
        way_out = f"its published weights are {', '.join(own)}, and create_model gives it fresh ones"
    elif name in list_models():
        way_out = "no weights of this size were ever published; create_model gives it fresh ones"
    else:
        way_out = (
            "give the folder that mixlab train printed, a name that `mixlab models --pretrained` lists, "
            "hub:owner/name, or a file"
        )
        hint = did_you_mean(name, published)
    return f'"{name}" is no weights that mixlab finds, here or published: {way_out}. {hint}'.rstrip()
