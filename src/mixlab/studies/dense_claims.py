"""The claims of the study of dense prediction, by the factor whose arms they need; "" needs the five models only."""

from mixlab.studies.result import Claim

MIXER, CONVMIXER, DAVIT, RESNET, VIT = "Mixer", "ConvMixer", "DaViT", "ResNet", "ViT"
LINEAR = ", linear head"
COARSE = ", patches of 16"
MEAN = "Mixer, mean of all patches"
NO_POSITIONS = "ViT, no positions"

_REGIME = "this study trains small models of equal cost on a few hundred images of streets, at a low resolution"
_CHANGED = (
    "this study trains small models on a few hundred images of streets, at a low resolution; a changed model is not "
    "matched in cost"
)
_OWN = "a hypothesis of mixlab"


def _claim(statement: str, contrast: tuple[str, ...], expected: str, source: str, regime: str = _REGIME) -> Claim:
    assert expected in ("higher", "lower")
    return Claim(statement=statement, contrast=contrast, expected=expected, source=source, regime=regime)


CLAIMS: dict[str, tuple[Claim, ...]] = {
    "": (
        _claim(
            "A DaViT segments better than a ResNet.",
            (DAVIT, RESNET),
            "higher",
            "Ding et al. 2022, segmentation of ADE20K with UPerNet",
            f"the source compares pre-trained models of 60 million parameters and more, with UPerNet; {_REGIME}",
        ),
        _claim("A DaViT, with four resolutions, segments better than a ViT with one.", (DAVIT, VIT), "higher", _OWN),
        _claim(
            "A Mixer is worse at segmentation than a ResNet.",
            (MIXER, RESNET),
            "lower",
            "Chen et al. 2021 (CycleMLP), introduction: MLP-Mixer is infeasible for dense prediction",
            f"the source means the fixed image size, which this study fixes too; {_REGIME}",
        ),
        _claim(
            "A ConvMixer segments better than a Mixer.",
            (CONVMIXER, MIXER),
            "higher",
            f"{_OWN}; Trockman and Kolter 2022 leave segmentation to future work",
        ),
    ),
    "pyramid": (
        _claim("A Mixer gains from a pyramid above its patches.", (MIXER, MIXER + LINEAR), "higher", _OWN, _CHANGED),
        _claim(
            "A ConvMixer gains from a pyramid above its patches.",
            (CONVMIXER, CONVMIXER + LINEAR),
            "higher",
            _OWN,
            _CHANGED,
        ),
        _claim(
            "A DaViT gains more from a pyramid than a ConvMixer, because its last map is the coarsest.",
            (DAVIT, DAVIT + LINEAR, CONVMIXER, CONVMIXER + LINEAR),
            "higher",
            _OWN,
            _CHANGED,
        ),
    ),
    "position": (
        _claim("Token MLPs, which know positions, are better than the mean.", (MIXER, MEAN), "higher", _OWN, _CHANGED),
        _claim("A ViT needs its positions.", (VIT, NO_POSITIONS), "higher", _OWN),
    ),
    "resolution": (
        _claim("A Mixer loses with patches of 16 pixels.", (MIXER, MIXER + COARSE), "higher", _OWN, _CHANGED),
        _claim(
            "A ConvMixer loses with patches of 16 pixels.", (CONVMIXER, CONVMIXER + COARSE), "higher", _OWN, _CHANGED
        ),
    ),
}
