"""The claims of the study of permutations, for the models that it trains."""

import re
from collections.abc import Sequence
from dataclasses import replace

from mixlab.studies.result import Claim
from mixlab.studies.roles import first_of_each_role
from mixlab.zoo.architecture import architecture, family_of

INPUTS = ("original", "patches permuted", "pixels in patches permuted", "both permuted", "all pixels permuted")
ORIGINAL, PATCHES, _, BOTH, ALL = INPUTS


def arm_name(model: str, kind: str) -> str:
    """The arm of a model on one of `INPUTS`."""
    return f"{model}, {kind}"


def drop_name(model: str, kind: str) -> str:
    """The relative drop of a model on one of `INPUTS`."""
    return f"drop of {model}, {kind}"


def unadapted_name(model: str) -> str:
    """The accuracy of the model that was trained on original images, on images with both permuted."""
    return f"{model}, original, tested on both permuted"


_PAPER = "Tolstikhin et al. 2021, section 3.4"
_REGIME = (
    "the source pre-trains Mixer-B/16 and ResNet50x1 on 300 million images and reports the linear 5-shot accuracy on "
    "ImageNet; this study trains small models from scratch on few images"
)
_LOCAL = "a consequence of local convolutions, not in the papers"
_LOCAL_REGIME = "no source reports it"

_CLAIMS = (
    Claim(
        statement="{mixer} is equally accurate on original images and on images with permuted patches and pixels.",
        contrast=(arm_name("{mixer}", BOTH), arm_name("{mixer}", ORIGINAL)),
        expected="equal",
        margin=1.0,
        source=_PAPER,
        regime=_REGIME,
    ),
    Claim(
        statement="{resnet} is less accurate on images with permuted patches and pixels.",
        contrast=(arm_name("{resnet}", BOTH), arm_name("{resnet}", ORIGINAL)),
        expected="lower",
        source=_PAPER,
        regime=_REGIME,
    ),
    Claim(
        statement="Permuted patches and pixels cost {mixer} less of its accuracy above chance than {resnet}.",
        contrast=(drop_name("{mixer}", BOTH), drop_name("{resnet}", BOTH)),
        expected="lower",
        source=_PAPER,
        regime=_REGIME,
        unit="percentage points",
    ),
    Claim(
        statement="A permutation of all pixels costs {mixer} less of its accuracy above chance than {resnet}.",
        contrast=(drop_name("{mixer}", ALL), drop_name("{resnet}", ALL)),
        expected="lower",
        source=f"{_PAPER}: about 45 % and 75 %",
        regime=_REGIME,
        unit="percentage points",
    ),
    Claim(
        statement="{resnet} is less accurate on images with permuted patches.",
        contrast=(arm_name("{resnet}", PATCHES), arm_name("{resnet}", ORIGINAL)),
        expected="lower",
        source=_LOCAL,
        regime=_LOCAL_REGIME,
    ),
    Claim(
        statement="{convmixer} is less accurate on images with permuted patches.",
        contrast=(arm_name("{convmixer}", PATCHES), arm_name("{convmixer}", ORIGINAL)),
        expected="lower",
        source=_LOCAL,
        regime=_LOCAL_REGIME,
    ),
    Claim(
        statement="Permuted patches cost {vit_sincos} more of its accuracy above chance than {vit_learned}.",
        contrast=(drop_name("{vit_sincos}", PATCHES), drop_name("{vit_learned}", PATCHES)),
        expected="higher",
        source="a consequence of fixed positions, which tell near patches from distant ones, not in the papers",
        regime=_LOCAL_REGIME,
        unit="percentage points",
    ),
    Claim(
        statement="Without retraining, {mixer} is less accurate on images with permuted patches and pixels.",
        contrast=(unadapted_name("{mixer}"), arm_name("{mixer}", ORIGINAL)),
        expected="lower",
        source="a trained Mixer is not invariant, against a common reading of the paper",
        regime="the paper retrains on every input",
    ),
)
"""{mixer}, {convmixer} and {resnet} are the first models of these families, {vit_sincos} that with such positions."""


def claims(models: Sequence[str]) -> tuple[Claim, ...]:
    """The claims about the first model of each family. Claims about families without a model are left out."""
    roles = first_of_each_role(models) | _by_positions(models)
    return tuple(
        replace(
            claim,
            statement=claim.statement.format(**roles),
            contrast=tuple(name.format(**roles) for name in claim.contrast),
        )
        for claim in _CLAIMS
        if roles.keys() >= set(re.findall(r"{(\w+)}", "".join(claim.contrast)))
    )


def _by_positions(models: Sequence[str]) -> dict[str, str]:
    """The first ViT with each kind of position embedding."""
    configs = {model: architecture(model).config for model in reversed(models) if family_of(model) == "timm"}
    return {
        f"vit_{config['arguments'].get('positions', 'sincos')}": model
        for model, config in configs.items()
        if config["name"] == "plain_vit"
    }
