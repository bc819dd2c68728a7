"""`mixlab recipes`, in the process."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mixlab.training.recipes.recipe_files import read_recipe, recipe_names, recipe_text


def test_every_recipe_is_listed_with_its_model_accuracy_and_source(run):
    ended = run("recipes", "--format", "markdown")
    assert ended.status == 0
    rows = {line.split("|")[1].strip(): line for line in ended.out.splitlines() if line.startswith("| ")}
    assert set(recipe_names()) <= rows.keys()
    assert "mixer_b16 | imagenet | 76.44 | the authors (table 3)" in " ".join(rows["mixer_b16_in1k"].split())
    assert "97.5 ± 0.6 (n = 3) | mixlab" in " ".join(rows["digits_mixer"].split())
    assert "mixer_h14 | your own | – | –" in " ".join(rows["mixer_h14_jft"].split())


def test_the_start_of_a_name_selects_recipes(run):
    ended = run("recipes", "davit_")
    assert "davit_tiny_in1k" in ended.out and "mixer_b16_in1k" not in ended.out


def test_an_exact_name_prints_the_file_with_its_comments(run):
    assert run("recipes", "convmixer_1536_20_in1k").out == recipe_text("convmixer_1536_20_in1k")


def test_json_and_csv_have_every_value_in_its_own_column(run):
    (row,) = json.loads(run("recipes", "digits_mixer", "--format", "json").out)["rows"]
    expected = read_recipe("digits_mixer")["expected"]
    assert {key: row[key] for key in expected} == expected
    rows = list(csv.DictReader(io.StringIO(run("recipes", "--format", "csv").out)))
    assert [row["name"] for row in rows] == recipe_names()
    assert {row["name"]: row["epochs"] for row in rows}["davit_tiny_in1k"] == "300"


def test_an_unknown_name_is_refused_with_a_suggestion(run):
    ended = run("recipes", "mixer_b61")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith('mixlab: No recipe name starts with "mixer_b61": `mixlab recipes` lists all. Did you')


def test_a_recipe_that_does_not_set_data_is_refused_without_data(run):
    ended = run("train", "mixer_b16_jft")
    sentence = "mixer_b16_jft does not set data: add --data, for example --data folder:PATH."
    assert (ended.status, ended.out, ended.err) == (2, "", f"mixlab: {sentence}\n")


def test_listing_imports_no_torch():
    code = (
        "import sys; from mixlab.cli.main import main\n"
        "try: main(['recipes'])\n"
        "finally: assert not {'torch', 'numpy'} & sys.modules.keys()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", recipe_names())
def test_the_first_lines_of_a_recipe_have_source_command_and_device(name):
    head = recipe_text(name).partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert [word for word in ("Source: ", "Command: ", "Device: ") if f"\n# {word}" not in head] == []
    assert f"mixlab train {name}" in head


def test_the_recipes_page_names_every_recipe():
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert [
        name
        for name in recipe_names()
        if f"`{name}`" not in page and not name.startswith(("digits_", "small_images_", "sounds_"))
    ] == []
