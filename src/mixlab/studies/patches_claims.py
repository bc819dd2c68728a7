"""The claims of the study of patches."""

from dataclasses import replace

from mixlab.studies.patches_design import (
    DATA,
    DEPTHWISE_OVER_ATTENTION,
    DEPTHWISE_OVER_MLP,
    MLP_OVER_ATTENTION,
    SHAPE,
    STEM,
    Effect,
    Fraction,
)
from mixlab.studies.result import Claim

_CONVMIXER = "Trockman and Kolter 2022, abstract"
_CONVMIXER_REGIME = (
    "the source compares whole networks of similar parameters on ImageNet, which also differ in norms and residual "
    "connections; this study exchanges the mixing of patches only, in small networks on few images"
)
_MIXER = "Tolstikhin et al. 2021, section 3.3"
_MIXER_REGIME = (
    "the source pre-trains large models on 9 to 300 million images, and compares with ViT and ResNet; this study "
    "trains small networks from scratch on few images"
)
_OWN, _NO_SOURCE = "a hypothesis of mixlab, not in the papers", "no source compares matched networks"

_CLAIMS = (
    Claim(
        statement="Depthwise convolutions are more accurate than attention.",
        contrast=(Effect(DEPTHWISE_OVER_ATTENTION).name,),
        expected="higher",
        source=_CONVMIXER,
        regime=_CONVMIXER_REGIME,
    ),
    Claim(
        statement="Depthwise convolutions are more accurate than token MLPs.",
        contrast=(Effect(DEPTHWISE_OVER_MLP).name,),
        expected="higher",
        source=_CONVMIXER,
        regime=_CONVMIXER_REGIME,
    ),
    Claim(
        statement="With attention, a stem of convolutions is more accurate than a patch in one step.",
        contrast=(Effect(STEM, mixing="attention").name,),
        expected="higher",
        source="Xiao et al. 2021, abstract",
        regime="the source trains ViTs of 1 to 36 GFLOPs on ImageNet, where the gain is 1 to 2 points; this study "
        "trains small networks on few images",
    ),
    Claim(
        statement="Token MLPs gain more from more images than attention.",
        contrast=(Effect(MLP_OVER_ATTENTION, DATA).name,),
        expected="higher",
        source=_MIXER,
        regime=_MIXER_REGIME,
    ),
    Claim(
        statement="Depthwise convolutions gain less from more images than token MLPs.",
        contrast=(Effect(DEPTHWISE_OVER_MLP, DATA).name,),
        expected="lower",
        source=_MIXER,
        regime=_MIXER_REGIME,
    ),
    Claim(
        statement="A pyramid is more accurate than an isotropic network.",
        contrast=(Effect(SHAPE).name,),
        expected="higher",
        source=_OWN,
        regime=_NO_SOURCE,
    ),
    Claim(
        statement="More images gain more than a stem of convolutions in place of a patch in one step.",
        contrast=(Effect(DATA).name, Effect(STEM).name),
        expected="higher",
        source=_OWN,
        regime=_NO_SOURCE,
    ),
    Claim(
        statement="More images gain more than depthwise convolutions in place of attention.",
        contrast=(Effect(DATA).name, Effect(DEPTHWISE_OVER_ATTENTION).name),
        expected="higher",
        source=_OWN,
        regime=_NO_SOURCE,
    ),
)

_ALIASED = (Effect(STEM), Effect(STEM, mixing="attention"), Effect(SHAPE), Effect(DATA))
_ALIASES = {effect.name: effect.alias for effect in _ALIASED}


def claims(fraction: Fraction) -> tuple[Claim, ...]:
    """The claims. In the half fraction, the regime of a claim names the interactions that are in its effects."""
    return _CLAIMS if fraction == "full" else tuple(map(_in_half_fraction, _CLAIMS))


def _in_half_fraction(claim: Claim) -> Claim:
    aliased = [
        f'"{name}" includes half of the interaction of {_ALIASES[name]}' for name in claim.contrast if name in _ALIASES
    ]
    if not aliased:
        return claim
    return replace(claim, regime=f"{claim.regime}; in the half fraction, {' and '.join(aliased)}")
