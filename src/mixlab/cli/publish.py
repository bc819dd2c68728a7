"""`mixlab publish`: publishes a finished run."""

from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import TrustCode
from mixlab.cli.output import logger, output_folder
from mixlab.errors import UserError


def publish(
    run: Annotated[Path, typer.Argument(help="The folder of a run that mixlab train printed.", show_default=False)],
    repository: Annotated[
        str | None, typer.Argument(help="owner/name on the Hugging Face hub; without it, only a folder is written.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write; default: a new one in runs/.")] = None,
    data: Annotated[str | None, typer.Option(help="The data of the run, if it was moved.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, as an identifier of the hub: apache-2.0.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository on the hub.")] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Add the model in ONNX, with its own results: onnx/model.onnx.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the files and the model card.")] = False,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide progress.")] = False,
) -> None:
    """Write a run to a folder with a model card, and upload it to the Hugging Face hub if a name is given.

    The run is evaluated on its held-out images. To upload, log in with `hf auth login` first.
    """
    from tempfile import TemporaryDirectory

    from mixlab.evaluation.model_evaluation import evaluate_model
    from mixlab.export.model_card import model_card
    from mixlab.export.publication import publication
    from mixlab.export.published_onnx import export_for_publication
    from mixlab.export.push import push, require_login, require_repository_name
    from mixlab.files import atomic_folder
    from mixlab.runs.folder import open_run
    from mixlab.weights.classifier import require_classification, require_no_sounds
    from mixlab.weights.load import load_pretrained
    from mixlab.weights.source import task_of

    if repository is not None:
        require_repository_name(repository)
        if not dry_run:
            require_login()
    elif private:
        raise UserError("--private needs a repository on the hub: give owner/name, or leave --private out.")
    folder = output_folder(out, "publish", run.resolve().name)
    source = f"hub:{repository}" if repository is not None else folder.resolve().name
    opened, log = open_run(run), logger(quiet=quiet)
    require_classification(task_of(run), run, "be published")
    require_no_sounds(load_pretrained(run).image_preprocess, run, "be published")
    evaluated = evaluate_model(str(run), data, quiet=quiet)
    with TemporaryDirectory() as scratch:
        exported = None
        if onnx:
            exported = export_for_publication(opened, evaluated, Path(scratch) / "onnx", data, log, quiet=quiet)
        published = publication(opened, evaluated, source=source, licence=licence, onnx=exported)
        card = model_card(published)
        if dry_run:
            written = Path(scratch) / "published"
            written.mkdir()
            published.write(written, card)
            for file in sorted(file for file in written.rglob("*") if file.is_file()):
                print(f"{file.stat().st_size:>15,} bytes  {file.relative_to(written).as_posix()}")
            print(f"\n{card}", end="")
            return
        with atomic_folder(folder) as temporary:
            published.write(temporary, card)
    if repository is None:
        print(folder)
        return
    log(f"Folder: {folder}")
    print(push(folder, repository, private=private))
