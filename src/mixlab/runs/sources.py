"""A digest of the source code that can affect the result of a training.

It covers all Python files of the package except `EXCLUDED`, as syntax trees without comments and docstrings, and all
source files of compiled code, byte for byte.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

import mixlab

EXCLUDED = (
    "__main__.py",
    "benchmark",
    "cli",
    "comparison",
    "data/inspection",
    "evaluation/novelty.py",
    "evaluation/novelty_features.py",
    "evaluation/training_images.py",
    "evaluation/unseen_images.py",
    "export",
    "prediction",
    "report",
    "runs/run_list.py",
    "runs/side_by_side.py",
    "stats",
    "studies",
    "training/epoch_lines.py",
    "training/job_list.py",
    "training/novelty.py",
    "training/ray_workers.py",
    "training/run_page.py",
    "training/trackers.py",
)
"""Folders and files that do not affect the result of a training, relative to the package."""

_COMPILED = (".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".metal")


@cache
def sources_digest() -> str:
    """SHA-256 as 64 hexadecimal digits. Computed once per process."""
    package = Path(mixlab.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        name = file.relative_to(package).as_posix()
        if not any(name == excluded or name.startswith(f"{excluded}/") for excluded in EXCLUDED):
            if file.suffix == ".py":
                digest.update(name.encode() + b"\0" + code_digest(file.read_text(encoding="utf-8")).encode())
            elif file.suffix in _COMPILED:
                digest.update(name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def code_digest(source: str) -> str:
    """SHA-256 of Python code, as 64 hexadecimal digits. Comments, docstrings and formatting do not change it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_string(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_string(statement: ast.stmt) -> bool:
    """Whether the statement is a docstring, of a module, class, function or attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
