"""The option --against: names, missing packages, and runtimes that can't train."""

import pytest

from mixlab.benchmark import peers
from mixlab.benchmark.peers import PEERS, parse_against
from mixlab.errors import UserError


@pytest.fixture
def without_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("openvino", "onnxruntime")
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in missing else object())


def test_without_the_option_all_installed_peers_are_measured(without_runtimes):
    assert parse_against(None, "inference") == ["timm", "eager", "compiled"]


def test_a_training_has_no_runtimes_as_peers(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: object())
    assert parse_against(None, "inference") == list(PEERS)
    assert parse_against(None, "training") == ["timm", "eager", "compiled"]


def test_names_may_have_spaces_and_be_repeated():
    assert parse_against("compiled, eager,compiled", "training") == ["compiled", "eager"]


@pytest.mark.parametrize(
    ("text", "task", "message"),
    [
        ("eagr", "inference", r'--against eagr: there is no peer "eagr"; the peers are timm, .*"eager"\?'),
        (" , ", "inference", r'--against " , " names no peer: give some of timm, eager, .*, or leave it out for all'),
        ("eager,tvm", "inference", r'there is no peer "tvm"'),
        ("openvino", "inference", r"openvino needs openvino: pip install \"mixlab\[deploy\]\", or leave it out"),
        ("openvino", "training", r"openvino can't train models: leave it out, or leave out --train"),
    ],
)
def test_errors_state_the_peer_and_the_fix(without_runtimes, text, task, message):
    with pytest.raises(UserError, match=message):
        parse_against(text, task)
