"""The page, with and without a browser."""

import csv
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from browser import RunInBrowser
from loopback import Request
from mixlab.serve.app import Limits
from mixlab.serve.page import SOURCES, server_page

TOKEN = "0123456789abcdef"

IN_FRAME = """
    const frame = document.createElement("iframe");
    frame.src = "index.html";
    document.body.append(frame);
    const pause = () => new Promise((wake) => setTimeout(wake, 20));
    const until = async (condition) => { while (!condition()) await pause(); };
    await until(() => frame.contentDocument?.body?.dataset?.ready);
    const page = frame.contentDocument;
    const texts = (selector) => [...page.querySelectorAll(selector)].map((each) => each.textContent);
    const choose = async (names, type) => {
        const chosen = new frame.contentWindow.DataTransfer();
        for (const name of names) {
            chosen.items.add(new frame.contentWindow.File([await (await fetch(name)).blob()], name, { type }));
        }
        const input = page.getElementById("images");
        input.files = chosen.files;
        input.dispatchEvent(new Event("change"));
    };
"""
"""Opens the page; `choose(names, type)` gives it files, and `texts(selector)` reads it."""


def test_the_page_is_served_and_loads_nothing_from_other_servers(serving):
    reply = serving.ask("GET", "/")
    assert reply.headers["Content-Type"].startswith("text/html")
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
    text = reply.body.decode()
    assert text == server_page("mixlab serve")
    assert all(path in text for path in ("/predict", "/health", "/metrics", "/openapi.json"))
    assert not re.search(r"https?:|//\w", text.replace("https.", ""))


def test_the_title_is_escaped_and_all_parts_are_filled():
    page = server_page("<cats> & dogs")
    assert "<h1>&lt;cats&gt; &amp; dogs</h1>" in page
    assert "$" not in page.partition("<script")[0]
    assert all((SOURCES / name).read_text(encoding="utf-8") in page for name in ("page.mjs", "token.html"))


@pytest.fixture
def run_page(run_in_browser: RunInBrowser, tmp_path: Path) -> Callable[..., Any]:
    """A function that opens the page of a server and runs a script beside it; other requests go to the server."""

    def run(serving, script: str, files: dict[str, bytes]) -> Any:
        (tmp_path / "page").mkdir()
        (tmp_path / "page" / "index.html").write_bytes(serving.ask("GET", "/").body)

        def forward(request: Request) -> None:
            headers = {
                name: request.headers[name] for name in ("Content-Type", "Authorization") if request.headers[name]
            }
            reply = serving.ask(request.command, request.path, request.body(), headers)
            retry = {name: value for name, value in reply.headers.items() if name.lower() == "retry-after"}
            request.reply(reply.body, reply.status, **retry)

        return run_in_browser(tmp_path / "page", IN_FRAME + script, files, forward)

    return run


@pytest.mark.long
def test_the_page_shows_the_labels_of_the_predictor_and_the_errors(run_page, serving, predictor, contents):
    files = {f"{number}.img": content for number, content in enumerate(contents)} | {"damaged.png": b"no image"}
    script = f"""
        await choose({json.dumps(list(files))}, "image/any");
        await until(() => texts("#status")[0] === "{len(contents)} of {len(files)} classified, by this server.");
        let csv;
        frame.contentWindow.URL.createObjectURL = (blob) => {{ csv = blob; return ""; }};
        page.getElementById("download").click();
        page.querySelectorAll("#thumbnails button")[3].click();
        report({{
            names: texts("#thumbnails .name"), labels: texts("#thumbnails .label"), errors: texts("#errors li"),
            answer: texts("#answer")[0], all: texts("#labels li"), csv: await csv.text(),
            note: texts("#note")[0], width: page.documentElement.scrollWidth <= page.documentElement.clientWidth,
        }});"""
    found = run_page(serving, script, files)
    assert found["names"] == list(files)[:-1]
    predictions = [predictor(content) for content in contents]
    assert found["labels"] == [f"{each.label} {100 * each.top(1)[0][1]:.1f} %" for each in predictions]
    assert found["errors"] == ["damaged.png can't be read: it is not an image in a supported format."]
    top = [f"{label}, {100 * probability:.1f} %" for label, probability in predictions[3].top(5)]
    assert (found["answer"], found["all"]) == (top[0], [each.replace(", ", "") for each in top])
    assert re.fullmatch(r"Answered in \d+ ms, with the way to the server.", found["note"])
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert [row["label"] for row in rows] == [each.label for each in predictions]
    assert found["width"]


@pytest.mark.long
def test_the_page_asks_for_the_token_until_the_server_accepts_it(run_page, start, predictor, contents):
    script = f"""
        await choose(["0.png"], "image/png");
        const reasons = [];
        for (const token of ["wrong", "{TOKEN}"]) {{
            await until(() => !page.getElementById("token").hidden && texts("#token-reason")[0] !== reasons.at(-1));
            reasons.push(texts("#token-reason")[0]);
            page.getElementById("token-text").value = token;
            page.querySelector("#token button").click();
        }}
        await until(() => texts("#status")[0].startsWith("1 of 1"));
        report({{ reasons, answer: texts("#answer")[0], hidden: page.getElementById("token").hidden }});"""
    found = run_page(start(token=TOKEN), script, {"0.png": contents[0]})
    label, probability = predictor(contents[0]).top(1)[0]
    assert found == {
        "reasons": ["This server needs a token.", "The server does not accept this token."],
        "answer": f"{label}, {100 * probability:.1f} %",
        "hidden": True,
    }


@pytest.mark.long
def test_the_page_tries_again_when_the_server_is_busy(run_page, start, changed, predictor, contents):
    def wait_for_a_refusal(images):
        end = time.monotonic() + 30
        while b'mixlab_responses_total{status="503"}' not in busy.ask("GET", "/metrics").body:
            assert time.monotonic() < end
            time.sleep(0.01)
        return predictor.predict_batch(images)

    busy = start(Limits(queue=1), predictor=changed(wait_for_a_refusal))
    script = """
        await choose(["0.png", "1.png", "2.png", "3.png"], "image/png");
        await until(() => texts("#status")[0].startsWith("4 of 4"));
        await choose(["notes.txt"], "text/plain");
        report({ labels: texts("#thumbnails .label").length, errors: texts("#errors li") });"""
    files = {f"{number}.png": contents[number] for number in range(4)} | {"notes.txt": b"no image"}
    assert run_page(busy, script, files) == {"labels": 4, "errors": ["These files contain no images."]}
