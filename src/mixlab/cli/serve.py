"""`mixlab serve`: answers requests for labels over HTTP."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.options import Device, Int8Data, Precision, PredictionModel, Speed, TrustCode, require_int8_for_data
from mixlab.cli.output import logger


def serve(
    model: PredictionModel,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 for a free one.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a token that requests need; default: the variable MIXLAB_TOKEN.")
    ] = None,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Largest body of a request.")] = 16,
    max_megapixels: Annotated[int, typer.Option(min=1, max=268, help="Largest image.")] = 64,
    queue: Annotated[int, typer.Option(min=1, help="Requests in progress, and images that wait, at most.")] = 64,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds until a request must be answered.")] = 30,
    device: Device = None,
    speed: Speed = "auto",
    precision: Precision = "auto",
    data: Int8Data = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide notes.")] = False,
) -> None:
    """Answer requests for labels over HTTP, on one machine. Ends with SIGTERM or Ctrl-C, after the open requests."""
    from mixlab.data.readers.extras import needs_extra

    with needs_extra("mixlab serve", "serve"):
        from mixlab.serve.app import Limits, create_app
        from mixlab.serve.server import (
            TOKEN_VARIABLE,
            address_of,
            find_token,
            is_loopback,
            listen,
            make_server,
            run,
            select_plan,
        )
    from mixlab.export.export import model_name
    from mixlab.prediction.predictor import Predictor
    from mixlab.weights.classifier import require_classification, require_no_sounds
    from mixlab.weights.source import task_of

    require_int8_for_data(data, precision)
    log = logger(quiet=quiet)
    token = find_token(token_file)
    limits = Limits(max_megabytes * 10**6, max_megapixels * 10**6, queue, timeout)
    with listen(host, port) as listener:
        require_classification(task_of(model), model, "be served")
        predictor = Predictor(model, device=device, speed=speed, precision=precision, data=data, log=log)
        require_no_sounds(predictor.preprocess, model, "be served")
        select_plan(predictor)
        if token is None and not is_loopback(listener):
            print(
                f"mixlab: everyone who can connect to {host} can use this server: give --token-file FILE, or a token "
                f"in the variable {TOKEN_VARIABLE}.",
                file=sys.stderr,
            )
        print(address_of(listener), flush=True)
        app = create_app(predictor, limits, token, model_name(model))
        run(make_server(app, drain_seconds=limits.seconds), listener)
