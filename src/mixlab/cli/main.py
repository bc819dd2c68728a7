"""The command `mixlab`: its verbs, and how they end.

Exit status: 0 done, 1 partly answered, 2 the user's mistake, 75 stopped by a signal and can be resumed, 130 Ctrl-C.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import typer

from mixlab.cli.compare import compare
from mixlab.cli.convert import convert
from mixlab.cli.data import data
from mixlab.cli.evaluate import evaluate
from mixlab.cli.inspect import inspect
from mixlab.cli.models import models
from mixlab.cli.predict import predict
from mixlab.cli.publish import publish
from mixlab.cli.recipes import recipes
from mixlab.cli.runs import runs
from mixlab.cli.study import study
from mixlab.cli.train import train
from mixlab.errors import Interrupted, UserError

_VERBS = (models, train, evaluate, predict, compare, recipes, runs, convert, inspect, publish)
VERBS = (*(verb.__name__ for verb in _VERBS), "data", "study")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
for verb in _VERBS:
    app.command()(verb)
app.add_typer(data, name="data")
app.add_typer(study, name="study")


@app.callback()
def mixlab() -> None:
    """A laboratory and workshop for patch-mixing vision models: MLP-Mixer, ConvMixer and DaViT."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `arguments`, or the process's own, and exit; a user's mistake is one sentence on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text in any encoding
    try:
        status = app(words or ["--help"], prog_name="mixlab", standalone_mode=False) or 0
        sys.stdout.flush()
    except UserError as error:
        status = _refused(str(error))
    except Interrupted as interrupted:
        print(f"mixlab: {interrupted}", file=sys.stderr)
        status = 75
    except typer.TyperException as error:
        status = _refused(_not_understood(words, error))
    except BrokenPipeError:  # the reader of a pipe has seen enough; Python would complain when it flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _refused(sentence: str) -> int:
    print(f"mixlab: {sentence}", file=sys.stderr)
    return 2


def _not_understood(words: Sequence[str], error: typer.TyperException) -> str:
    """Typer's message about the words typed, such as an option that a verb lacks, as a sentence with a way out."""
    message = error.format_message().replace("Value error, ", "")
    end = "" if message.endswith((".", "?")) else "."
    command = f"mixlab {words[0]} --help" if words[0] in VERBS else "mixlab --help"
    return f"`{shlex.join(['mixlab', *words])}` is not understood: {message}{end} `{command}` lists what is."
