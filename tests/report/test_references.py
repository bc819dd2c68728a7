"""The BibTeX entries."""

import re
from importlib.resources import files
from pathlib import Path

import yaml

from mixlab.report.references import bibtex, data_references


def entry_keys(text: str) -> list[str]:
    """The keys of BibTeX entries."""
    return re.findall(r"^@\w+\{(\w+),$", text, flags=re.MULTILINE)


def test_every_entry_has_author_title_and_year():
    text = (files("mixlab") / "report" / "references.bib").read_text(encoding="utf-8")
    keys = entry_keys(text)
    entries = bibtex(keys).split("\n\n")[1:]
    assert len(entries) == len(set(keys)) == text.count("@") > 20
    for entry in entries:
        assert all(
            re.search(rf"^  {field} = {{.+}},?$", entry, flags=re.MULTILINE) for field in ("author", "title", "year")
        )


def test_the_papers_of_the_citation_file_are_those_of_the_entries():
    citation = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8"))
    for key, reference in zip(("mixer", "convmixer", "davit"), citation["references"], strict=True):
        authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in reference["authors"])
        title, url = reference["title"], reference["url"]
        plain = bibtex([key]).replace("{MLP", "MLP").replace("Mixer}", "Mixer").replace("MLP}", "MLP")
        plain = plain.replace("{DaViT}", "DaViT")
        for field, value in {"author": authors, "title": title, "year": reference["year"], "url": url}.items():
            assert f"  {field} = {{{value}}}" in plain


def test_a_folder_has_no_reference():
    assert (data_references("cifar10:/data"), data_references("folder:pets")) == (["cifar10"], [])
