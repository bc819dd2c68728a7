"""The peers that mixlab is measured beside, and which of them this machine has."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from mixlab.benchmark.result import Task
from mixlab.errors import UserError, did_you_mean
from mixlab.speed.openvino import OPENVINO_PACKAGES

PEERS = ("timm", "eager", "compiled", "openvino", "onnxruntime")
"""timm's own model of the same architecture, stock PyTorch without and with `torch.compile`, and two runtimes."""

RUNTIMES = ("openvino", "onnxruntime")
"""Peers that run a converted model on the CPU: they can't train."""

_MODULES: Mapping[str, tuple[Sequence[str], str]] = {
    "timm": (("timm",), "baselines"),
    "openvino": (OPENVINO_PACKAGES, "deploy"),
    "onnxruntime": (("onnxruntime", "onnx", "onnxscript"), "deploy"),
}
"""The Python packages of a peer, and the extra of mixlab that installs them."""


def parse_against(text: str | None, task: Task) -> list[str]:
    """The peers of `--against`, separated by commas; None: all that are installed and can do the task.

    Raises UserError for an unknown peer, for one that is not installed, and for a runtime that is asked to train.
    """
    if text is None:
        return [peer for peer in PEERS if not _missing(peer) and not (task == "training" and peer in RUNTIMES)]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f'--against "{text}" names no peer: give some of {", ".join(PEERS)}, or leave it out for all.')
    for name in names:
        if name not in PEERS:
            raise UserError(
                f'--against {text}: there is no peer "{name}"; the peers are {", ".join(PEERS)}. '
                f"{did_you_mean(name, PEERS)}".rstrip()
            )
        if task == "training" and name in RUNTIMES:
            raise UserError(f"--against {text}: {name} can't train models: leave it out, or leave out --train.")
        if missing := _missing(name):
            _, extra = _MODULES[name]
            raise UserError(
                f'--against {text}: {name} needs {", ".join(missing)}: pip install "mixlab[{extra}]", or leave it out.'
            )
    return list(dict.fromkeys(names))


def _missing(peer: str) -> list[str]:
    modules, _ = _MODULES.get(peer, ((), ""))
    return [module for module in modules if find_spec(module) is None]
