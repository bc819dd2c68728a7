"""The command `mixlab`: its verbs, and how a user's mistake ends."""

import sys
from collections.abc import Sequence

import typer

from mixlab.cli.compare import compare
from mixlab.cli.models import models
from mixlab.cli.train import train
from mixlab.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for verb in (models, train, compare):
    app.command()(verb)


@app.callback()
def mixlab() -> None:
    """A laboratory and workshop for patch-mixing vision models: MLP-Mixer, ConvMixer and DaViT."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `arguments`, or the process's own, and exit; a user's mistake is one sentence, and status 2."""
    try:
        app(arguments, prog_name="mixlab")
    except UserError as error:
        print(f"mixlab: {error}", file=sys.stderr)
        sys.exit(2)
