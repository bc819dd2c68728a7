"""What the server counts, in the format of Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BATCH_SIZES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one server, with the memory and CPU time of its process.

    digest  of the model
    """

    def __init__(self, digest: str, waiting: Callable[[], float]):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("mixlab_model", "The model that is served", registry=registry).info({"digest": digest})
        Gauge("mixlab_images_waiting", "Images in the queue", registry=registry).set_function(waiting)
        self.responses = Counter("mixlab_responses", "Responses by status", ["status"], registry=registry)
        self.images = Counter("mixlab_images", "Images by result", ["result"], registry=registry)
        self.seconds = Histogram("mixlab_predict_seconds", "Time of a request to /predict", registry=registry)
        self.batch = Histogram("mixlab_batch_images", "Images of a batch", buckets=_BATCH_SIZES, registry=registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class CountResponses:
    """ASGI middleware that counts responses by status."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._responses = app, metrics.responses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._responses.labels(message["status"]).inc()
            await send(message)

        await self._app(scope, receive, count_and_send)
