"""The endpoints: answers, errors, limits, and the token."""

import json
import socket
import threading
import time
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exported_folder import write_exported_folder
from mixlab.prediction.predictor import Predictor
from mixlab.serve.app import Limits
from mixlab.serve.server import select_plan

TOKEN = "a token of 24 characters".replace(" ", "-")


def labels_of(predictor: Predictor, content: bytes, top: int = 5) -> list[dict[str, Any]]:
    return [
        {"label": label, "probability": pytest.approx(probability, abs=1e-6)}
        for label, probability in predictor(content).top(top)
    ]


def test_raw_bytes_of_an_image_have_the_prediction_of_the_predictor(serving, predictor, contents):
    reply = serving.predict(contents[0])
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    answer = {"file": None, "status": 200, "labels": labels_of(predictor, contents[0])}
    assert reply.json == {"model": predictor.digest, "predictions": [answer]}


def test_an_exported_model_is_served_like_weights(start, contents, tmp_path):
    pytest.importorskip("onnxruntime", reason='needs onnx and onnxruntime: pip install "mixlab[deploy]"')
    exported = Predictor(write_exported_folder(tmp_path / "exported"))
    select_plan(exported)
    serving = start(predictor=exported)
    reply = serving.predict_files({f"{number}.img": content for number, content in enumerate(contents)})
    assert [each["labels"] for each in reply.json["predictions"]] == [labels_of(exported, each) for each in contents]
    digest = json.loads((tmp_path / "exported" / "card.json").read_text())["sha256"]
    assert reply.json["model"] == serving.ask("GET", "/health").json["model"] == digest


def test_every_file_of_a_form_has_an_answer_in_order(serving, predictor, contents):
    files = {f"{number}.img": content for number, content in enumerate(contents)}
    reply = serving.predict_files(files)
    assert reply.status == 200
    assert reply.json["predictions"] == [
        {"file": name, "status": 200, "labels": labels_of(predictor, content)} for name, content in files.items()
    ]


def test_an_unreadable_file_has_status_422_beside_the_answers_for_the_others(serving, predictor, contents):
    reply = serving.predict_files({"a.png": contents[1], "notes.txt": b"text", "b.png": contents[1][:-30]})
    assert reply.status == 200
    good, text, truncated = reply.json["predictions"]
    assert good["labels"] == labels_of(predictor, contents[1])
    assert text == {
        "file": "notes.txt",
        "status": 422,
        "error": "notes.txt can't be read: it is not an image in a supported format.",
    }
    assert truncated["status"] == 422 and truncated["error"].startswith("b.png can't be read: it is damaged")


def test_the_status_is_422_if_no_image_can_be_read(serving):
    reply = serving.predict(b"text")
    assert reply.status == 422
    error = "The image can't be read: it is not an image in a supported format."
    assert reply.json["predictions"] == [{"file": None, "status": 422, "error": error}]
    assert serving.predict(b"").json["predictions"][0]["error"] == "The image can't be read: it is empty."


def test_top_selects_the_number_of_labels(serving, predictor, contents):
    reply = serving.predict(contents[0], "/predict?top=1")
    assert reply.json["predictions"][0]["labels"] == labels_of(predictor, contents[0], 1)
    assert serving.predict(contents[0], "/predict?top=0").status == 422


def test_images_unlike_the_training_images_are_flagged_if_this_is_known(start, predictor, changed, contents):
    def detect(images):
        return [
            replace(each, unlike_training=np.bool_(1))  # which is not JSON
            for each in predictor.predict_batch(images)
        ]

    reply = start(predictor=changed(detect)).predict(contents[0])
    assert reply.json["predictions"][0]["unlike_training"] is True


def test_file_names_are_labels_only(serving, contents):
    name = "/etc/passwd\x00<script> ü \ud83d".encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    (answer,) = serving.predict_files({name: contents[0]}).json["predictions"]
    assert (answer["file"], answer["status"]) == (name, 200)
    (answer,) = serving.predict_files({"http://127.0.0.1/cat.png": b"/etc/passwd"}).json["predictions"]
    assert (answer["file"], answer["status"]) == ("http://127.0.0.1/cat.png", 422)


def test_a_body_above_the_limit_is_refused_before_it_is_read(start, contents):
    limited = start(Limits(bytes=5_000))
    assert limited.predict(contents[0]).status == 200
    reply = limited.predict(b"x" * 5_001)
    assert reply.status == 413
    assert reply.json == {"detail": "The body has more than 5,000 bytes: send fewer or smaller images."}
    with socket.create_connection(("127.0.0.1", limited.port), timeout=10) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5001\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_is_refused_at_the_limit(start):
    limited = start(Limits(bytes=5_000))
    with socket.create_connection(("127.0.0.1", limited.port), timeout=10) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"1389\r\n" + b"x" * 0x1389 + b"\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_an_image_with_too_many_pixels_is_refused_by_its_header(start, contents):
    file = BytesIO()
    Image.new("1", (4_000, 4_000)).save(file, "PNG")
    limited = start(Limits(pixels=600))
    assert limited.predict(contents[0]).status == 200
    reply = limited.predict(file.getvalue())
    assert reply.status == 422
    assert "it has more than 600 pixels" in reply.json["predictions"][0]["error"]


def test_a_body_that_stops_is_answered_at_the_time_limit(start):
    limited = start(Limits(seconds=0.3))
    with socket.create_connection(("127.0.0.1", limited.port), timeout=10) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


class Held:
    """A `predict_batch` that waits until it is released."""

    def __init__(self, predictor: Predictor):
        self._predict = predictor.predict_batch
        self.started, self.released = threading.Event(), threading.Event()

    def __call__(self, images):
        self.started.set()
        assert self.released.wait(30)
        return self._predict(images)


@pytest.fixture
def held(predictor):
    held = Held(predictor)
    yield held
    held.released.set()


def in_background(call, *arguments) -> list[Any]:
    """The result of a call in a thread, when it is there."""
    results: list[Any] = []
    threading.Thread(target=lambda: results.append(call(*arguments))).start()
    return results


def wait_for(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_queue_is_answered_503_with_the_seconds_to_wait(start, changed, held, contents):
    limited = start(Limits(queue=2), predictor=changed(held))
    results = in_background(limited.predict, contents[0])
    assert held.started.wait(30)
    reply = limited.predict_files({"a": contents[0], "b": contents[1]})  # one place is left
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json == {"detail": "The server is busy: at most 2 images can wait. Try again later."}
    more = in_background(limited.predict, contents[1])
    wait_for(lambda: b"mixlab_images_waiting 2.0" in limited.ask("GET", "/metrics").body)
    assert limited.predict(contents[2]).json == {
        "detail": "The server is busy: 2 requests are in progress. Try again later."
    }
    held.released.set()
    wait_for(lambda: results and more)
    assert (results[0].status, more[0].status) == (200, 200)
    assert limited.predict(contents[2]).status == 200


def test_a_prediction_that_takes_too_long_is_answered_503(start, changed, held, contents):
    limited = start(Limits(seconds=0.3), predictor=changed(held))
    reply = limited.predict(contents[0])
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    held.released.set()
    wait_for(lambda: limited.predict(contents[0]).status == 200)


def test_more_files_than_the_queue_are_refused(start, contents):
    reply = start(Limits(queue=2)).predict_files(dict.fromkeys("abc", contents[0]))
    assert (reply.status, reply.json["detail"]) == (
        413,
        "The form has more than 2 files: send them in several requests.",
    )


def test_health_has_the_digest_of_the_model(serving, predictor):
    assert serving.ask("GET", "/health").json["model"] == predictor.digest


def test_metrics_count_responses_and_images(start, contents):
    new = start()
    new.predict(contents[0])
    new.predict_files({"a": contents[0], "b": contents[1], "c": b"text"})
    new.predict(b"text")
    lines = new.ask("GET", "/metrics").body.decode().splitlines()
    assert {
        'mixlab_responses_total{status="200"} 2.0',
        'mixlab_responses_total{status="422"} 1.0',
        'mixlab_images_total{result="predicted"} 3.0',
        'mixlab_images_total{result="unreadable"} 2.0',
        "mixlab_predict_seconds_count 3.0",
        "mixlab_batch_images_sum 3.0",
        "mixlab_images_waiting 0.0",
    } <= set(lines)
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_with_a_token_only_the_page_health_and_the_schema_are_open(start, contents):
    guarded = start(token=TOKEN)
    for path in ("/", "/health", "/openapi.json"):
        assert guarded.ask("GET", path).status == 200
    for headers in (
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer \xff"},
    ):
        reply = guarded.ask("POST", "/predict", contents[0], headers)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert guarded.ask("GET", "/metrics", headers=headers).status == 401
    good = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("POST", "/predict", contents[0], good).status == 200
    assert guarded.ask("GET", "/metrics", headers=good).status == 200


def test_openapi_describes_both_kinds_of_bodies_and_the_answers(serving):
    schema = serving.ask("GET", "/openapi.json").json
    predict = schema["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/octet-stream"}
    assert predict["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Answers"
    }
    fields = schema["components"]["schemas"]["FileAnswer"]
    assert set(fields["properties"]) == {"file", "status", "labels", "unlike_training", "error"}
    assert fields["required"] == ["file", "status"]


def test_an_error_of_the_model_is_a_500_and_the_server_goes_on(start, predictor, changed, contents, caplog):
    errors = [ZeroDivisionError()]

    def fail_once(images):
        if errors:
            raise errors.pop()
        return predictor.predict_batch(images)

    failing = start(predictor=changed(fail_once))
    assert failing.predict(contents[0]).status == 500
    assert failing.predict(contents[0]).status == 200


def test_probabilities_that_are_not_numbers_are_never_sent(start, predictor, changed, contents):
    def diverge(images):
        return [replace(each, probabilities=each.probabilities * np.nan) for each in predictor.predict_batch(images)]

    assert start(predictor=changed(diverge)).predict(contents[0]).status == 500


def test_names_of_classes_that_are_not_valid_text_are_sent_as_json(start, predictor, changed, contents):
    def rename(images):
        return [replace(each, classes=("\udcff",) * 3) for each in predictor.predict_batch(images)]

    reply = start(predictor=changed(rename)).predict(contents[0], "/predict?top=1")
    assert json.loads(reply.body)["predictions"][0]["labels"][0]["label"] == "\udcff"
