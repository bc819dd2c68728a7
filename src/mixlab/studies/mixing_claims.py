"""The claims of the study of mixing. They are about counts, so that their verdicts need no test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mixlab.studies.jacobian import Mixing
from mixlab.studies.mixing_modules import FIXED
from mixlab.studies.result import Claim, Finding, counted_finding

_MIXER, _VIT = "Tolstikhin et al. 2021, section 2", "Dosovitskiy et al. 2021, section 3.1"
_CONVMIXER, _DAVIT = "Trockman and Kolter 2022, section 2", "Ding et al. 2022, abstract"


@dataclass(frozen=True)
class _Property:
    """What a source says of all modules of a kind.

    says         the end of a sentence about a module
    contradicts  whether a module does not have the property
    """

    kind: str
    says: str
    contradicts: Callable[[Mixing], bool]
    source: str


def _mixes_places(module: Mixing) -> bool:
    return "places" in module.mixes


def _mixes_channels(module: Mixing) -> bool:
    return "channels" in module.mixes


def _leaves_out_places(module: Mixing) -> bool:
    return module.cells < 1


_PROPERTIES = (
    _Property("token MLP", "mixes no channels", _mixes_channels, _MIXER),
    _Property("token MLP", "depends on every place", _leaves_out_places, _MIXER),
    _Property("channel MLP", "mixes no places", _mixes_places, _MIXER),
    _Property("depthwise convolution", "mixes no channels", _mixes_channels, _CONVMIXER),
    _Property("pointwise convolution", "mixes no places", _mixes_places, _CONVMIXER),
    _Property("channel attention", "depends on every place", _leaves_out_places, _DAVIT),
    _Property("channel attention" + FIXED, "mixes no places", _mixes_places, "the definition of channel attention"),
    _Property("self-attention", "depends on every place", _leaves_out_places, _VIT),
    _Property("MLP", "mixes no places", _mixes_places, "the definition of an MLP of each place"),
)


def mixing_findings(kinds: Mapping[str, Mapping[str, Sequence[Mixing]]]) -> list[Finding]:
    """The claims about the modules that each model has, decided by the number of modules that contradict them."""
    return [
        counted_finding(_claim(model, one), sum(map(one.contradicts, by_kind[one.kind])))
        for model, by_kind in kinds.items()
        for one in _PROPERTIES
        if one.kind in by_kind
    ]


def _claim(model: str, one: _Property) -> Claim:
    return Claim(
        statement=f"{model}, {one.kind}: every module {one.says}.",
        contrast=("modules that contradict the claim",),
        expected="equal",
        source=one.source,
        regime="counted in random rows of the Jacobian of each module, in float64 and for a noise image",
        unit="modules",
    )
