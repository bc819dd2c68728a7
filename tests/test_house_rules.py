"""Project rules that no linter checks."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mixlab"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
WRITTEN = [
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "decisions").glob("*.md")]
    if page.name != "performance.md"
]
TEXTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")]


def test_modules_and_folders_are_found():
    assert len(MODULES) > 40 and len(FOLDERS) > 10


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_has_a_docstring_a_limited_length_and_a_descriptive_name(module: Path):
    source = module.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), "a module needs a docstring: its first line states what the module is"
    assert source.count("\n") <= 350, "a module has at most 350 lines: split it"
    assert module.stem not in {"utils", "helpers", "common", "misc"}, "a module needs a name that describes its content"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_folder_has_a_docstring(folder: Path):
    (statement,) = ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(statement, ast.Expr)


def test_the_tests_mirror_the_package():
    folders = {path.relative_to(PACKAGE).as_posix() for path in FOLDERS}
    tests = ROOT / "tests"
    mirrored = {path.parent.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")} - {"."}
    assert mirrored <= folders | {"benchmarks"}, "a test folder has the same name as the folder that it tests"
    assert folders <= mirrored, "every folder of the package has tests"


def test_modules_with_jaxtyping_do_not_postpone_annotations():
    for module in MODULES:
        source = module.read_text(encoding="utf-8")
        assert "jaxtyping" not in source or "from __future__ import annotations" not in source, module


def test_architecture_lists_every_module():
    listed, folder = set(), ""
    for line in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## All modules")[2].splitlines():
        if heading := re.match(r"\*\*`([^`]+)`\*\*", line):
            folder = "" if heading[1] == "mixlab" else heading[1]
        elif entry := re.match(r"- `([^`]+)`", line):
            listed.add(folder + entry[1])
    assert listed == {path.relative_to(PACKAGE).as_posix() for path in MODULES if path.name != "__init__.py"}


def test_every_page_has_a_link_to_it():
    linked = {target for text in TEXTS for target in re.findall(r"\]\(([^)#\s]+)", text.read_text(encoding="utf-8"))}
    pages = {path.name for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {Path(target).name for target in linked}


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_into_the_repository_exist(text: Path):
    for target in re.findall(r"\]\(([^)#\s]+)", text.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (text.parent / target).exists(), f"{text.name} links to {target}"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_sections_exist(text: Path):
    for target, section in re.findall(r"\]\(([^)#\s:]*)#([\w-]+)\)", text.read_text(encoding="utf-8")):
        assert section in sections(text.parent / target if target else text), f"{text.name}: {target}#{section}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_has_at_most_120_characters_a_line(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    prose = [line for line in text.splitlines() if not re.match(r"#|\||!|\*[^*]|Evidence:|.*<", line)]
    assert not [line for line in prose if len(line) > 120]


def sections(page: Path) -> set[str]:
    """The names by which links refer to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_layer_contract_holds_and_can_fail(tmp_path: Path):
    assert _check_contract(tmp_path / "unchanged").returncode == 0
    broken = _check_contract(tmp_path / "broken", add_to="stats/estimate.py", line="import mixlab.models.mixer")
    assert broken.returncode == 1
    assert "mixlab.stats is not allowed to import mixlab.models" in broken.stdout


def _check_contract(copy: Path, add_to: str | None = None, line: str = "") -> subprocess.CompletedProcess[str]:
    """Check the contract of pyproject.toml on a copy of the package, optionally with a line added to a module."""
    shutil.copytree(PACKAGE, copy / "mixlab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    if add_to is not None:
        module = copy / "mixlab" / add_to
        module.write_text(f"{module.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=copy, env={"PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False)


RETIRED = (
    "picture",
    "judge",
    "yardstick",
    "foretell",
    "foretold",
    "contender",
    "contestant",
    "usual",
    "worth",
    "kept",
    "told",
    "whose",
    "begun",
    "sayer",
    "surest",
    "apart",
)
"""Words that names do not use, because the field has other words for them. Plurals and other forms count as well."""


def retired_words(name: str) -> list[str]:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    forms = {form for word in RETIRED for form in (word, f"{word}s", f"{word}d", f"{word.removesuffix('e')}ing")}
    return [word for word in words if word.lower() in forms]


def names_of(source: str) -> set[str]:
    """Every name that a module defines or assigns, its keyword arguments, and its strings that are keys or options."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add("" if name.startswith("test_") else name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                names.add(name)
            case ast.Dict(keys=keys):
                names |= {str(key.value) for key in keys if isinstance(key, ast.Constant) and is_name(key.value)}
            case ast.Subscript(slice=ast.Constant(value=str(name))) if is_name(name):
                names.add(name)
            case ast.Constant(value=str(name)) if re.fullmatch(r"--[a-z-]+", name):
                names.add(name)
    return names


def is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z_]+", value) is not None


CODE = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]


@pytest.mark.parametrize("module", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_use_no_retired_words(module: Path):
    names = names_of(module.read_text(encoding="utf-8"))
    assert not {name: retired for name in sorted(names) if (retired := retired_words(name))}


def test_recipe_keys_use_no_retired_words():
    for recipe in sorted((PACKAGE / "recipes").glob("*.toml")):
        keys = re.findall(r"^\[?([a-z_.]+)\]?(?: =|$)", recipe.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert keys
        assert not [key for key in keys if retired_words(key)], recipe.name
        assert not retired_words(recipe.stem), recipe.name


@pytest.mark.parametrize(
    ("name", "retired"),
    [("picture_size", True), ("JudgingBatches", True), ("usual", True), ("usually_not", False), ("image_size", False)],
)
def test_retired_words_are_found_in_names_of_both_cases(name, retired):
    assert bool(retired_words(name)) == retired
