"""`mixlab serve`: mistakes are one sentence, before the server starts."""

import socket
import sys

import pytest
import torch
from safetensors.torch import save_file

from mixlab.zoo.architecture import create_model

pytest.importorskip("fastapi", reason='needs fastapi: pip install "mixlab[serve]"')

TOKEN = "0123456789abcdef"


def test_a_port_in_use_is_refused(refused, here):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused("serve", "run", "--port", str(port)) == (
            f"Port {port} of 127.0.0.1 can't be used (address already in use): give another one with --port; --port 0 "
            "finds a free one."
        )


def test_an_address_of_another_machine_is_refused(refused):
    assert refused("serve", "run", "--host", "192.0.2.1").startswith("--host 192.0.2.1 is not an address of this ")


def test_a_missing_extra_is_named(refused, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("mixlab.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert refused("serve", "run") == (
        'mixlab serve needs the optional dependency fastapi: pip install "mixlab[serve]"'
    )


def test_a_model_without_head_is_refused(refused, here):
    model = create_model("mixer_nano", classes=0, image_size=8, patch_size=4, channels=8, depth=1)
    save_file(model.state_dict(), here / "headless.safetensors")
    sentence = refused("serve", "headless.safetensors", "--port", "0", "--quiet")
    assert sentence == "headless.safetensors has no head, so it can't predict labels: give a model with classes."


def test_a_model_that_does_not_exist_is_refused(refused):
    assert "nothing" in refused("serve", "nothing", "--port", "0")


@pytest.mark.parametrize("content", [None, "", "short\n", f"{TOKEN} {TOKEN}"])
def test_a_file_without_a_usable_token_is_refused(refused, here, content):
    if content is not None:
        (here / "token").write_text(content)
    assert "token" in refused("serve", "run", "--token-file", "token")


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "65536"),
        ("--queue", "0"),
        ("--timeout", "0"),
        ("--max-megapixels", "300"),
        ("--max-megabytes", "0"),
        ("--data", "digits"),
        ("--speed", "fast"),
        ("--precision", "int4"),
    ],
)
def test_options_out_of_range_are_refused(refused, trained, options):
    assert refused("serve", trained, "--port", "0", "--quiet", *options)


@pytest.fixture
def not_run(monkeypatch):
    from mixlab.serve import server

    monkeypatch.setattr(server, "select_plan", lambda _: None)
    monkeypatch.setattr(server, "run", lambda *_: None)


def test_the_address_is_printed_when_the_server_is_ready(run, trained, not_run):
    ended = run("serve", trained, "--port", "0")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("http://127.0.0.1:")


def test_a_server_for_other_machines_without_a_token_has_a_warning(run, trained, not_run, here, monkeypatch):
    ended = run("serve", trained, "--port", "0", "--host", "0.0.0.0", "--quiet")
    assert ended.err == (
        "mixlab: everyone who can connect to 0.0.0.0 can use this server: give --token-file FILE, or a token in the "
        "variable MIXLAB_TOKEN.\n"
    )
    monkeypatch.setenv("MIXLAB_TOKEN", TOKEN)
    assert run("serve", trained, "--port", "0", "--host", "0.0.0.0").err == ""


def test_the_device_of_the_options_is_used(refused, trained):
    if not torch.cuda.is_available():
        assert refused("serve", trained, "--port", "0", "--device", "cuda").startswith('The device "cuda" is not ')
