"""The machine that computed, as pages name it."""

from collections.abc import Mapping
from typing import Any

from mixlab.report.text import pluralize


def machine_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Of what `mixlab.measure.machine.describe` found."""
    return {
        "Device": f"{environment['device']}, {pluralize(environment['threads'], 'thread')}, "
        f"{environment['memory_bytes'] / 2**30:.0f} GiB of memory",
        "System": environment["system"],
        "Versions": ", ".join(f"{package} {version}" for package, version in environment["versions"].items()),
        "Commit": environment["commit"] or "installed without a repository",
    }
