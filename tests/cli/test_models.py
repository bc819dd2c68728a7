"""`mixlab models`, run in the process of the test."""

import json
import subprocess
import sys

import pytest

from mixlab.cli.main import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_models_lists_every_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    assert "davit_giant" in capsys.readouterr().out


def test_a_pattern_selects_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "convmixer_1") == 0
    output = capsys.readouterr().out
    assert "convmixer_1024_20" in output
    assert "mixer_b16" not in output


def test_the_papers_tables_are_written_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--paper", "--format", "csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 84


def test_the_papers_tables_are_written_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--paper", "--format", "markdown") == 0
    assert capsys.readouterr().out.count("**DaViT: ") == 3


def test_an_unknown_pattern_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "miyer_nano") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith('mixlab: No model name starts with "miyer_nano"')
    assert captured.err.endswith('Did you mean "mixer_nano"?\n')


def test_a_pattern_for_the_papers_tables_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "mixer", "--paper") == 2
    assert 'leave out the pattern "mixer"' in capsys.readouterr().err


def test_published_weights_are_listed_with_sources_and_unavailable_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("models", "--pretrained") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "mixer_b16.goog_in1k 224 1,000 59.88 12.60 76.44 paper, table 3" in output
    assert "Not available: DaViT-Large, Huge and Giant" in output


def test_published_weights_are_selected_by_the_beginning_of_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--pretrained", "davit", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert len(rows) == 5
    assert json.loads(rows[0]["sources"])[0]["address"] == "microsoft/Florence-2-base"


@pytest.mark.parametrize("name", ["mixer_l16.goog_in1k", "mixer_l16_224.goog_in21k_ft_in1k"])
def test_an_exact_name_shows_all_details(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run("models", name) == 0
    output = " ".join(capsys.readouterr().out.split())
    for words in ("mixer_models/imagenet1k/Mixer-L_16.npz", "208,196,168", "71.76 %", "72.08 %", "licence Apache-2.0"):
        assert words in output, words
    assert "trained on ImageNet-1k alone" in output


def test_the_name_of_a_size_lists_its_published_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "mixer_b32") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "Models by name" in output
    assert "Published weights: mixer_b32.gsam_in1k, mixer_b32.sam_in1k." in output


def test_a_pattern_that_is_not_a_size_lists_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "mixer_b") == 0
    assert "Published weights" not in capsys.readouterr().out


def test_an_unknown_name_of_published_weights_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "mixer_b16.goog_in2k") == 2
    assert "No published weights have the name" in capsys.readouterr().err


def test_two_lists_in_one_command_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--paper", "--pretrained") == 2
    assert "can't be combined" in capsys.readouterr().err


def test_listing_models_imports_no_torch() -> None:
    code = (
        "import sys; from mixlab.cli.main import main\n"
        "papers, cards = ['models', '--paper'], ['models', '--pretrained']\n"
        "for arguments in (['models'], papers, cards, ['models', 'mixer_b16.sam_in1k'], ['--help']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as stopped: assert stopped.code == 0\n"
        "assert not {'torch', 'timm', 'numpy', 'matplotlib'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
