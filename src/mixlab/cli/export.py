"""`mixlab export`: writes a model for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixlab.cli.options import DATA, Int8Data, TrustCode, require_int8_for_data
from mixlab.cli.output import logger, parse_image_size, require_new_path
from mixlab.errors import UserError


def export(
    model: Annotated[
        str, typer.Argument(help="A run, a published name, hub:owner/name, or a weights file.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="The new folder to write.", show_default=False)],
    to: Annotated[
        Literal["onnx", "openvino", "torch", "web", "triton"],
        typer.Option(help="Format; web is a page for a browser, triton a model repository of NVIDIA Triton."),
    ] = "onnx",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"],
        typer.Option(
            help="Of the network; int8 is refused unless it is faster and at most 0.5 points less accurate than fp32."
        ),
    ] = "fp32",
    data: Int8Data = None,
    image_size: Annotated[str | None, typer.Option(help="Resize to this many pixels: 448 or 384x512.")] = None,
    check: Annotated[
        str | None, typer.Option(help=f"Compare with mixlab on all images of a data set, too: {DATA}.")
    ] = None,
    runtime: Annotated[
        Path | None, typer.Option(help="The package onnxruntime-web for --to web. Default: fetched with npm.")
    ] = None,
    webgpu: Annotated[
        bool, typer.Option("--webgpu", help="The page uses WebGPU where it is correct and faster (27 MB more).")
    ] = False,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide progress.")] = False,
) -> None:
    """Export a model for other programs, after a comparison with mixlab from image files to labels.

    predict.py beside the model needs no mixlab, but only numpy, Pillow, and the runtime of the format.
    """
    from mixlab.data.sources import open_as_provided

    require_new_path(out)
    require_int8_for_data(data, precision)
    pixels, log = parse_image_size(image_size), logger(quiet=quiet)
    splits = () if check is None else tuple(open_as_provided(check).splits.values())
    if to == "web":
        from mixlab.export.web_page import export_page

        if precision != "fp32":
            raise UserError(f"--precision {precision} is not possible with --to web: a page runs in fp32.")
        providers = ("wasm", "webgpu") if webgpu else ("wasm",)
        export_page(model, out, image_size=pixels, check=splits, runtime=runtime, providers=providers, log=log)
    elif runtime is not None or webgpu:
        raise UserError("--runtime and --webgpu only have an effect with --to web: leave them out.")
    elif to == "triton":
        from mixlab.export.triton import export_triton

        export_triton(model, out, precision=precision, image_size=pixels, data=data, check=splits, log=log)
    else:
        from mixlab.export.export import export_model

        export_model(model, out, to=to, precision=precision, image_size=pixels, data=data, check=splits, log=log)
    print(out)
