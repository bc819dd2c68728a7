"""The claims of the study of position embeddings: about photographs, or about the generated images."""

from mixlab.studies.result import Claim

SOLVED = 90.0
"""Accuracy in per cent from which the task of the generated images counts as solved; chance is 25 %."""


def arm_name(model: str, position: str) -> str:
    """The arm of "Mixer" or "ViT" with a position embedding: "none", "learned" or "sincos"."""
    return f"{model}, {positions_text(position)}"


def positions_text(position: str) -> str:
    """A position embedding in words: "no positions", "learned positions"."""
    return f"{'no' if position == 'none' else position} positions"


def above_solved_name(model: str, position: str) -> str:
    """The quantity: accuracy minus `SOLVED`."""
    return f"{arm_name(model, position)}, minus {SOLVED:g} %"


_PLAIN_MIXER, _PLAIN_VIT = arm_name("Mixer", "none"), arm_name("ViT", "none")
_MIXER_PAPER = "Tolstikhin et al. 2021, section 2"
_MIXER_REGIME = (
    "the source has no position embeddings, because token MLPs are sensitive to the order of the tokens, and reports "
    "no experiment with them; this study trains small models from scratch on few images"
)
_VIT_PAPER = "Dosovitskiy et al. 2021, appendix D.4"
_VIT_REGIME = (
    "the source pre-trains ViT-B/16 on 300 million images and reports the linear 5-shot accuracy on ImageNet; this "
    "study trains a small ViT without class token from scratch on few images"
)
_TASK = "the construction of the images"
_TASK_REGIME = "no source has this task"


def claims_about_images(positions: tuple[str, ...]) -> tuple[Claim, ...]:
    """The claims about any images, for each of `positions` except "none"."""
    return tuple(claim for position in positions if position != "none" for claim in _about_images(position))


def claims_about_two_shapes(positions: tuple[str, ...]) -> tuple[Claim, ...]:
    """The claims about the generated images."""
    solves = _solves("Mixer", "none", "A Mixer without position embedding solves the task.")
    better = Claim(
        statement="Without position embedding, a Mixer is more accurate than a ViT.",
        contrast=(_PLAIN_MIXER, _PLAIN_VIT),
        expected="higher",
        source=_TASK,
        regime=_TASK_REGIME,
    )
    others = tuple(
        _solves("ViT", position, f"A ViT with {position} positions solves the task.")
        for position in positions
        if position != "none"
    )
    return (solves, better, *others)


def _about_images(position: str) -> tuple[Claim, ...]:
    mixer, vit = arm_name("Mixer", position), arm_name("ViT", position)
    return (
        Claim(
            statement=f"A ViT is more accurate with {position} positions than without.",
            contrast=(vit, _PLAIN_VIT),
            expected="higher",
            source=_VIT_PAPER,
            regime=_VIT_REGIME,
        ),
        Claim(
            statement=f"A Mixer is equally accurate with {position} positions and without.",
            contrast=(mixer, _PLAIN_MIXER),
            expected="equal",
            margin=1.0,
            source=_MIXER_PAPER,
            regime=_MIXER_REGIME,
        ),
        Claim(
            statement=f"A ViT gains more from {position} positions than a Mixer.",
            contrast=(vit, _PLAIN_VIT, mixer, _PLAIN_MIXER),
            expected="higher",
            source=_MIXER_PAPER,
            regime=_MIXER_REGIME,
        ),
    )


def _solves(model: str, position: str, statement: str) -> Claim:
    return Claim(
        statement=f"{statement[:-1]}: its accuracy is above {SOLVED:g} %.",
        contrast=(above_solved_name(model, position),),
        expected="higher",
        source=_TASK,
        regime=_TASK_REGIME,
    )
