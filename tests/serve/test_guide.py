"""The requests of docs/serve.md."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_requests_of_the_guide_are_answered(start, contents, tmp_path):
    token = "0123456789abcdef"
    (tmp_path / "token").write_text(f"{token}\n")
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(contents[number])
    open_server, guarded = start(), start(token=token)
    requests = re.findall(r"^curl .*$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(requests) == 3
    answered = []
    for request in requests:
        port = guarded.port if "Authorization" in request else open_server.port
        command = request.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        done = subprocess.run(
            ["sh", "-c", f"{command} --silent --noproxy 127.0.0.1"], cwd=tmp_path, capture_output=True, check=True
        )
        answered.append([answer["file"] for answer in json.loads(done.stdout)["predictions"]])
    assert answered == [[None], ["0.png", "1.png"], [None]]


def test_the_limits_of_the_guide_are_the_defaults():
    from typer.testing import CliRunner

    from mixlab.cli.main import app

    shown = re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output)
    rows = re.findall(r"^\| `(--[\w-]+)` \| (\d+) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(rows) == 4
    for option, default in rows:
        assert re.search(rf"{option} .*\[default: {default}\]", shown), (option, shown)
