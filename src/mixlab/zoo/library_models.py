"""Models of the papers' tables that other libraries than timm build: PVT, CvT, CSWin, UniFormer and VAN.

A model is `papers:NAME`, with random weights. Nothing is downloaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from mixlab.errors import UserError, did_you_mean
from mixlab.models.contract import ImageSize, height_and_width


@dataclass(frozen=True, kw_only=True)
class LibraryConfig:
    name: str
    image_size: ImageSize = 224
    image_channels: int = 3
    classes: int = 1000


class LibraryModel(nn.Module):
    """A network of another library with `config`, and with `forward`, which returns logits."""

    def __init__(self, config: LibraryConfig):
        super().__init__()
        self.config = config
        self.network = _builder(config.name)(config)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(images)
        return logits if isinstance(logits, Tensor) else logits.logits


def library_model_names() -> list[str]:
    """The sorted names of all models."""
    return sorted(_BUILDERS)


def _builder(name: str) -> Callable[[LibraryConfig], nn.Module]:
    if name not in _BUILDERS:
        raise UserError(
            f'There is no model "papers:{name}": the names are {", ".join(library_model_names())}. '
            f"{did_you_mean(name, _BUILDERS)}".rstrip()
        )
    return _BUILDERS[name]


def _missing(name: str, error: ModuleNotFoundError) -> UserError:
    return UserError(
        f'papers:{name} is built by {error.name}, which is not installed: run `pip install "mixlab[papers]"`.'
    )


def _pvt(config: LibraryConfig, depths: tuple[int, ...]) -> nn.Module:
    """Wang et al. 2021, table 1."""
    try:
        from transformers import PvtConfig, PvtForImageClassification
    except ModuleNotFoundError as error:
        raise _missing(config.name, error) from error
    return PvtForImageClassification(
        PvtConfig(
            image_size=config.image_size,
            num_channels=config.image_channels,
            num_labels=config.classes,  # pyright: ignore[reportCallIssue]  # a field of the base class
            depths=depths,
        )
    )


def _cvt(config: LibraryConfig, depth: tuple[int, ...]) -> nn.Module:
    """Wu et al. 2021, table 2."""
    try:
        from transformers import CvtConfig, CvtForImageClassification
    except ModuleNotFoundError as error:
        raise _missing(config.name, error) from error
    return CvtForImageClassification(
        CvtConfig(num_channels=config.image_channels, num_labels=config.classes, depth=depth)  # pyright: ignore
    )


def _birder(config: LibraryConfig) -> nn.Module:
    try:
        import birder.net  # noqa: F401  # registers the models
        from birder.model_registry import registry
    except ModuleNotFoundError as error:
        raise _missing(config.name, error) from error
    size = height_and_width(config.image_size)
    return registry.net_factory(config.name, config.classes, config.image_channels, size=size)


_BUILDERS: Mapping[str, Callable[[LibraryConfig], nn.Module]] = {
    "pvt_small": partial(_pvt, depths=(3, 4, 6, 3)),
    "pvt_medium": partial(_pvt, depths=(3, 4, 18, 3)),
    "pvt_large": partial(_pvt, depths=(3, 8, 27, 3)),
    "cvt_13": partial(_cvt, depth=(1, 2, 10)),
    "cvt_21": partial(_cvt, depth=(1, 4, 16)),
    "cswin_transformer_s": _birder,
    "cswin_transformer_b": _birder,
    "cswin_transformer_l": _birder,
    "uniformer_b": _birder,
    "van_b3": _birder,
}
