"""The claims of the study of texts, and the names of its arms and quantities."""

from mixlab.studies.result import Claim

MIXER, TRANSFORMER = "Mixer", "Transformer"
BAG_OF_WORDS = "bag of words"

_MIXER_PAPER = "Tolstikhin et al. 2021, section 5, last sentence"
_PNLP = "Fusco et al. 2022, abstract"
_OUR_EXPECTATION = "no source: our expectation before the study"


def short_arm(short: int) -> str:
    """The arm of a Mixer that reads the first `short` tokens only."""
    return f"{MIXER}, {short} tokens"


def long_texts(name: str, short: int) -> str:
    """The quantity: accuracy on the test texts with more than `short` tokens."""
    return f"{name}, texts above {short} tokens"


def way(short: int, way: str) -> str:
    """The quantity: accuracy of the short Mixer on long texts that are "cut", in "windows" or "resized"."""
    return long_texts(f"{short_arm(short)}, {way}", short)


def claims(short: int) -> tuple[Claim, ...]:
    """All claims; `short` is the maximum length of the short Mixer."""
    regime = "no experiment of a source; this study trains small models from scratch on short texts in English"
    return (
        Claim(
            statement="A Mixer over hashed tokens is more accurate than logistic regression on bags of words.",
            contrast=(MIXER, BAG_OF_WORDS),
            expected="higher",
            source=_MIXER_PAPER,
            regime="the source asks whether such a design works for texts, and reports no experiment; this study "
            "trains small models from scratch on at most 15,000 short texts in English",
        ),
        Claim(
            statement="A Mixer is as accurate as a Transformer with the same stem, width and depth.",
            contrast=(MIXER, TRANSFORMER),
            expected="equal",
            margin=1.0,
            source=_PNLP,
            regime="the source compares a Mixer that is not pre-trained with a pre-trained multilingual BERT on "
            "semantic parsing; this study compares two small models that are both trained from scratch",
        ),
        Claim(
            statement=f"For texts above {short} tokens, a Mixer of {short} tokens is more accurate in windows than on "
            "the beginning of the text.",
            contrast=(way(short, "windows"), way(short, "cut")),
            expected="higher",
            source=_OUR_EXPECTATION,
            regime=regime,
        ),
        Claim(
            statement=f"For texts above {short} tokens, a Mixer with token MLPs that are resized from {short} tokens "
            "is less accurate than one that was trained on whole texts.",
            contrast=(way(short, "resized"), long_texts(MIXER, short)),
            expected="lower",
            source=_OUR_EXPECTATION,
            regime=regime,
        ),
    )
