"""The pages of docs/results are generated from the results.json beside them."""

import json
import re
import runpy
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from mixlab.cli.main import main
from mixlab.studies.stored_result import write_result
from studies.test_result import arms_result, claim

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "study_pages.py"))
NAMES = sorted(path.parent.name for path in RESULTS.glob("*/results.json"))


def stored(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_of_the_repository_is_generated_from_its_result(name):
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") == SCRIPT["page"](RESULTS / name)


def test_the_list_of_the_repository_has_all_results():
    index = SCRIPT["index"]([RESULTS / name for name in NAMES])
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == index


@pytest.mark.parametrize("name", NAMES)
def test_a_result_of_the_repository_is_from_a_commit_without_changes(name):
    assert len(stored(RESULTS / name)["environment"]["commit"]) == 40


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_a_result_still_has_its_options(name):
    """The tests of each study run it with smaller settings."""
    program, *arguments = shlex.split(stored(RESULTS / name)["command"])
    assert program == "mixlab"
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments, "--help"])
    assert not exit_info.value.code


@pytest.mark.parametrize("name", NAMES)
def test_a_result_of_the_repository_names_no_folder_of_a_machine(name):
    folder = RESULTS / name
    headers = [file.read_bytes().split(b"\n")[1].decode() for file in folder.glob("correct/*.correct")]
    for text in (json.dumps(stored(folder)), *headers):
        assert re.findall(r'"/[^"]*|:/[^/"][^"]*', text) == []


def test_a_page_has_the_command_the_claims_the_figures_and_what_was_trained(tmp_path):
    result = arms_result({"a": (61.0, 62.0, 63.0), "b": (51.0, 52.5, 53.0)}, claim("a", "b"))
    write_result(tmp_path / "found", result, command="mixlab study toy --seeds 3", seconds=90.0, data={"left_out": 0})
    content = stored(tmp_path / "found")
    for arm in content["arms"]:
        arm["training_seconds"] = [1210.0] * 3
    content["plans"] = {"all trainings": {"precision": "bf16", "concurrent": 2}}
    (tmp_path / "found" / "results.json").write_text(json.dumps(content))
    page = SCRIPT["page"](tmp_path / "found")
    assert page.startswith(f"# {result.title}\n\n{result.summary.sentence}\n\n```\nmixlab study toy --seeds 3\n```\n")
    assert "- Trainings: 6 trainings of 2 h 1 min in total, 2 at the same time\n" in page
    assert "- Precision of the trainings: bf16\n" in page
    assert "agrees" in page and "62.0 ± 1.0 (n = 3)" in page and result.methods in page
    (figure,) = content["figures"]
    assert f"](found/{figure['file']})" in page and (tmp_path / "found" / figure["file"]).stat().st_size > 1000


def test_the_page_of_a_study_without_trainings_has_the_duration_of_its_command(tmp_path):
    result = replace(arms_result({"a": (61.0, 62.0, 63.0)}), training_seconds=())
    write_result(tmp_path / "found", result, command="mixlab study toy", seconds=90.0, data={})
    page = SCRIPT["page"](tmp_path / "found")
    assert "- Duration: 2 min\n" in page and "- Trainings" not in page


def test_a_remark_is_on_the_page_and_above_the_findings(tmp_path):
    result = arms_result({"a": (61.0, 62.0, 63.0), "b": (51.0, 52.5, 53.0)}, claim("a", "b"))
    write_result(
        tmp_path / "found", result, command="mixlab study toy --seeds 3", seconds=90.0, data={"data": "digits"}
    )
    (tmp_path / "found" / "remark.txt").write_text("Two seeds were tested before.\n")
    assert "\n\n**Remark.** Two seeds were tested before.\n\n" in SCRIPT["page"](tmp_path / "found")
    index = SCRIPT["index"]([tmp_path / "found"])
    assert "### [found](found.md), digits\n\n**Remark.** Two seeds were tested before.\n\n- **agrees**" in index


def test_the_list_of_results_has_every_finding_with_its_contrast(tmp_path):
    claims = [claim("a", "b"), claim("a", "c", "equal", margin=1.0)]
    arms = {"a": (61.0, 62.0, 63.0), "b": (51.0, 52.5, 53.0), "c": (61.0, 62.5, 64.0)}
    result = arms_result(arms, *claims)
    write_result(tmp_path / "found", result, command="mixlab study toy", seconds=90.0, data={"data": "digits"})
    findings = SCRIPT["index"]([tmp_path / "found"]).split("## Findings")[1]
    assert "### [found](found.md), digits\n" in findings
    assert f"- **agrees**: {claims[0].statement} 9.83 [9.12, 10.55] points, n = 3\n" in findings
    assert re.search(r"- \*\*undecided\*\* \(n to decide: \d+\): a is compared with c\. −0\.50 \[", findings)


def test_the_trainings_of_a_page_are_those_of_the_result_and_not_only_of_its_arms():
    plans = {"all trainings": {"precision": "bf16", "concurrent": 1}}
    of_arms = {"plans": plans, "arms": [{"name": "a", "training_seconds": [3600.0] * 2}, {"name": "b"}]}
    assert SCRIPT["_trainings"](of_arms) == "2 trainings of 2 h in total"
    assert SCRIPT["_trainings"](of_arms | {"training_seconds": [3600.0] * 5}) == "5 trainings of 5 h in total"
