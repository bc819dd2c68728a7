"""Names of models in a Python file of the user: py:FILE.py:NAME, with config fields as in py:FILE.py:NAME:depth=4."""

from pathlib import Path


def split_name(name: str) -> tuple[str, list[str]]:
    """FILE, and [NAME, field=value, ...]. FILE ends at the first ".py:", since it may contain colons."""
    file, ending, rest = name.removeprefix("py:").partition(".py:")
    if ending:
        return f"{file}.py", rest.split(":")
    file, _, rest = file.partition(":")  # the file has another suffix, or NAME is missing
    return file, rest.split(":") if rest else []


def with_file(name: str, file: Path | str) -> str:
    """The name with another FILE."""
    return ":".join(["py", str(file), *split_name(name)[1]])
