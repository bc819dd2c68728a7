import json

from PIL import Image

from mixlab.report.axes import Axis
from mixlab.report.figure import Figure
from mixlab.report.forest_plot import forest_plot
from mixlab.report.page import Columns, Details, Page, Section, Summary
from mixlab.report.result_folder import write_result_files
from mixlab.stats.estimate import Estimate


def figure(title: str) -> Figure:
    return forest_plot(title, {"a": Estimate(1.0, 0.5, 1.5, 3, "%")}, Axis("Top-1", "%"), caption=f"About {title}.")


def test_every_figure_of_the_page_is_a_file_that_results_json_lists(tmp_path):
    sections = [
        Section("First", ["text", figure("Top-1 of a/b"), Columns([figure("Calibration"), "text"])]),
        Section("Second", [Details("more", [figure("Calibration")])]),
    ]
    page = Page("title", Summary("sentence", "uncertainty"), sections, "footer")
    write_result_files(tmp_path, page, {"top1": 1.0})
    results = json.loads((tmp_path / "results.json").read_text())
    files = ["figures/top-1-of-a-b.png", "figures/calibration.png", "figures/calibration-2.png"]
    assert [listed["file"] for listed in results["figures"]] == files
    assert results["figures"][0] == {"title": "Top-1 of a/b", "caption": "About Top-1 of a/b.", "file": files[0]}
    assert results["top1"] == 1.0
    for file in files:
        with Image.open(tmp_path / file) as image:
            assert min(image.size) > 100
    assert (tmp_path / "report.html").read_text() == page.html()


def test_a_result_that_is_resumed_is_written_again(tmp_path):
    for sentence in ("old", "new"):
        page = Page("title", Summary(sentence, "uncertainty"), [Section("First", [figure("Top-1")])], "footer")
        write_result_files(tmp_path, page, {"summary": sentence})
    assert json.loads((tmp_path / "results.json").read_text())["summary"] == "new"
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["top-1.png"]
