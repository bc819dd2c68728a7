"""Options shared by several subcommands."""

import re
from typing import Annotated

import typer

from mixlab.errors import UserError

DATA = (
    "digits, cifar10, two-shapes, imagenet, imagenet-v2, imagenet-a, imagenet-r, imagenet-sketch, folder:PATH, "
    "audio:PATH, spoken-digits, csv:FILE, tar:FILE, zip:FILE, wds:PATTERN, parquet:PATTERN, hf:NAME, tfds:NAME, or a "
    "torchvision dataset, as in docs/data.md"
)
"""The kinds of datasets for the help text, as in `mixlab.data.sources.KINDS`, which is slow to import."""


def split_names(text: str) -> tuple[str, ...]:
    """Comma-separated names; a comma within brackets, as in timm:cifar_resnet:layers=[1,1], is part of a name.

    Raises UserError if one of them is empty. An empty text is no names.
    """
    names = tuple(name.strip() for name in re.split(r",(?![^\[]*\])", text)) if text else ()
    if not all(names):
        raise UserError(f'"{text}" has an empty name: give names with single commas between them, such as a,b.')
    return names


def _trust_all(given: bool) -> bool:
    if given:
        from mixlab.zoo.user_code import trust_all_code

        trust_all_code()
    return given


def trust_given_code(*values: object) -> None:
    """Trust the files of py: names in the values of options: one name, several with commas, or a sequence of names."""
    from mixlab.zoo.architecture import trust_named_code

    for value in values:
        names = split_names(value) if isinstance(value, str) else value if isinstance(value, tuple | list) else ()
        for name in names:
            trust_named_code(str(name).strip())


def require_int8_for_data(data: str | None, precision: str) -> None:
    """Raises UserError if --data is given without --precision int8."""
    if data is not None and precision != "int8":
        raise UserError("--data has no effect without --precision int8: leave one of them out.")


PredictionModel = Annotated[
    str,
    typer.Argument(
        help="The folder of a run, a published name, hub:owner/name, a weights file, or an exported model.",
        show_default=False,
    ),
]

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps. Default: the fastest one of this machine.")]

Speed = Annotated[
    str,
    typer.Option(help="auto: the fastest execution of this machine, if the job is not short. off: eager, in fp32."),
]

Precision = Annotated[
    str,
    typer.Option(
        help="auto, or int8, which is refused unless it is faster than bf16 and at most 0.5 points less accurate than "
        "fp32."
    ),
]

Int8Data = Annotated[
    str | None,
    typer.Option(help="Data set with training and validation images for int8. Default: that of the run."),
]

Windows = Annotated[
    float | None,
    typer.Option(
        help="Masks: windows at the image's own size, which overlap by this share of a side. Default: the whole image.",
        show_default=False,
    ),
]

TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", callback=_trust_all, help="Run the Python code of a model in the given folder."),
]


def require_alone(option: str, others: dict[str, object]) -> None:
    """Raises UserError if an option is given that has no effect with `option`."""
    for name, value in others.items():
        if value:
            raise UserError(f"{name} has no effect with {option}: leave one of them out.")
