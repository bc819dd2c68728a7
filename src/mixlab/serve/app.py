"""The endpoints of `mixlab serve`.

    POST /predict    labels for one image (raw bytes) or several (multipart/form-data)
    GET /health      whether the server answers, and the digest of the model
    GET /metrics     counters for Prometheus
    GET /            a page to try it
    GET /openapi.json

Nothing in a request names a path or an address.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect
from typing_extensions import TypedDict

from mixlab import __version__
from mixlab.data.image_file import UnreadableImage
from mixlab.prediction.predictor import Predictor
from mixlab.serve.batcher import Answer, Batcher, QueueFull
from mixlab.serve.metrics import CountResponses, Metrics
from mixlab.serve.page import HEADERS, server_page
from mixlab.serve.request_images import SentImage, read_images


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server.

    bytes    of the body of a request
    pixels   of an image
    queue    requests in progress, and images that wait for a prediction
    seconds  from the head of a request to its answer
    """

    bytes: int = 16_000_000
    pixels: int = 64_000_000
    queue: int = 64
    seconds: float = 30.0


class LabelWithProbability(TypedDict):
    label: str
    probability: float


class FileAnswer(TypedDict):
    """The labels of a file, most probable first, with status 200; or the error, with status 422."""

    file: str | None
    status: int
    labels: NotRequired[list[LabelWithProbability]]
    unlike_training: NotRequired[bool]
    error: NotRequired[str]


class Answers(TypedDict):
    """model  the SHA-256 of the weights"""

    model: str
    predictions: list[FileAnswer]


def create_app(predictor: Predictor, limits: Limits, token: str | None = None, name: str = "mixlab serve") -> FastAPI:
    """The application for an ASGI server.

    token  that /predict and /metrics need; None: everyone can use them
    name   of the model, the title of the page
    """
    digest = predictor.digest
    metrics = Metrics(digest, lambda: batcher.waiting)
    batcher = Batcher(
        predictor, max_waiting=limits.queue, max_pixels=limits.pixels, observe_batch=metrics.batch.observe
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    app = FastAPI(
        title="mixlab serve",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from other servers
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(CountResponses, metrics=metrics)
    needs_token = [] if token is None else [Depends(_token_check(token))]
    html = server_page(name)
    in_progress = 0

    @app.post("/predict", dependencies=needs_token, responses=_RESPONSES, openapi_extra=_REQUEST_BODY)
    async def predict(
        request: Request, top: Annotated[int, Query(ge=1, description="Labels per image")] = 5
    ) -> Response:
        """Labels with probabilities for one or several images.

        The status is 200 if at least one image could be read, and 422 if none could.
        """
        nonlocal in_progress
        if in_progress == limits.queue:
            raise _busy(f"{limits.queue} requests are in progress")
        in_progress += 1
        images: list[SentImage] = []
        try:
            with metrics.seconds.time():
                async with asyncio.timeout(limits.seconds):
                    images = await read_images(request, max_bytes=limits.bytes, max_images=limits.queue)
                    answers = await batcher.predict([image.content for image in images])
        except QueueFull:
            raise _busy(f"at most {limits.queue} images can wait") from None
        except TimeoutError:
            if images:
                raise _busy(f"the images were not predicted within {limits.seconds:g} s") from None
            raise HTTPException(408, f"The body was not received within {limits.seconds:g} s.") from None
        except ClientDisconnect:
            raise HTTPException(400, "The connection was closed before the end of the body.") from None
        finally:
            in_progress -= 1
        files = [_file_answer(image, answer, top) for image, answer in zip(images, answers, strict=True)]
        for file in files:
            metrics.images.labels("predicted" if file["status"] == 200 else "unreadable").inc()
        content = json.dumps(Answers(model=digest, predictions=files), allow_nan=False)
        return Response(content, min(file["status"] for file in files), media_type="application/json")

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The digest of the model. The server answers from the end of its start to the beginning of its stop."""
        return {"status": "ok", "model": digest, "version": __version__}

    @app.get("/metrics", dependencies=needs_token, response_class=Response)
    async def prometheus() -> Response:
        """Counters in the format of Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers=HEADERS)

    return app


def _file_answer(image: SentImage, answer: Answer, top: int) -> FileAnswer:
    if isinstance(answer, UnreadableImage):
        error = UnreadableImage(image.name or "The image", answer.reason)
        return {"file": image.name, "status": 422, "error": str(error)}
    labels: list[LabelWithProbability] = [
        {"label": label, "probability": probability} for label, probability in answer.top(top)
    ]
    found: FileAnswer = {"file": image.name, "status": 200, "labels": labels}
    if answer.unlike_training is not None:
        found["unlike_training"] = bool(answer.unlike_training)
    return found


def _busy(reason: str) -> HTTPException:
    return HTTPException(503, f"The server is busy: {reason}. Try again later.", headers={"Retry-After": "1"})


def _token_check(token: str) -> Any:
    """A dependency that refuses requests without the token."""
    expected = token.encode()

    async def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), expected):
            raise HTTPException(
                401,
                "The token is missing or wrong: send the header Authorization: Bearer TOKEN.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


_FILE = {"type": "string", "format": "binary"}
_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"files": {"type": "array", "items": _FILE}}}
            },
            "application/octet-stream": {"schema": _FILE},
        },
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Answers, "description": "At least one image could be read"},
    400: {"description": "The body is damaged"},
    401: {"description": "The token is missing or wrong"},
    408: {"description": "The body was not received in time"},
    413: {"description": "The body has too many bytes or files"},
    422: {"model": Answers, "description": "No image could be read; or, with `detail`, a wrong form or query"},
    503: {"description": "The server is busy; Retry-After states the seconds"},
}
