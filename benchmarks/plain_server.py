"""A plain server of a timm model with random weights, for `benchmarks/serving.py`.

    python benchmarks/plain_server.py mixer_s32_224 --port 0

It is what one writes first: FastAPI calls a function for each file in a thread, and the model runs eagerly in fp32.
"""

import argparse
import socket

import timm
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform


def create_app(name: str) -> FastAPI:
    model = timm.create_model(name).eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    app = FastAPI()

    @app.post("/predict")
    def predict(file: UploadFile) -> list[dict[str, str | float]]:
        image = Image.open(file.file).convert("RGB")
        with torch.inference_mode():
            probabilities = model(transform(image)[None]).softmax(dim=1)[0]  # pyright: ignore[reportIndexIssue, reportCallIssue]
        best = probabilities.topk(5)
        return [
            {"label": f"class {index}", "probability": probability}
            for probability, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", arguments.port))
    app = create_app(arguments.model)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
    main()
