"""Options that several verbs share."""

from typing import Annotated

import typer

DATA = (
    "digits, cifar10, imagenet, folder:PATH, csv:FILE, tar:FILE, wds:PATTERN, parquet:PATTERN, hf:NAME, tfds:NAME, or "
    "a torchvision dataset, as in docs/data.md"
)
"""How to name a dataset, for the help: `mixlab.data.sources.KINDS`, whose import would slow the help down."""


def _trust_all(given: bool) -> bool:
    if given:
        from mixlab.zoo.user_code import trust_all_code

        trust_all_code()
    return given


TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", callback=_trust_all, help="Run the code of a model that lies in the folder given."),
]
