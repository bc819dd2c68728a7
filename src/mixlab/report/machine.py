"""The description of the machine on pages and in methods paragraphs."""

from collections.abc import Mapping
from typing import Any

from mixlab.report.text import pluralize


def machine_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Labels and values of the dict from `mixlab.measure.machine.describe`."""
    return {
        "Device": f"{environment['device']}, {pluralize(environment['threads'], 'thread')}, "
        f"{environment['memory_bytes'] / 2**30:.0f} GiB of memory",
        "System": environment["system"],
        "Versions": ", ".join(f"{package} {version}" for package, version in environment["versions"].items()),
        "Commit": environment["commit"] or "unknown (not in a checkout)",
    }


def software_sentence(environment: Mapping[str, Any]) -> str:
    """The sentence about device and versions."""
    versions = environment["versions"]
    commit = f" (commit {environment['commit'][:12]})" if environment.get("commit") else ""
    return (
        f"All results are from mixlab {versions['mixlab']}{commit} and PyTorch {versions['torch']} on "
        f"{environment['device']}."
    )
