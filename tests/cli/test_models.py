"""`mixlab models`, in the process."""

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


def test_a_pattern_picks(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_an_unknown_pattern_is_one_sentence_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "miyer_nano") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith('mixlab: No model\'s name begins with "miyer_nano"')
    assert captured.err.endswith('Did you mean "mixer_nano"?\n')


def test_a_pattern_beside_the_papers_tables_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "mixer", "--paper") == 2
    assert 'leave out the pattern "mixer"' in capsys.readouterr().err


def test_listing_models_imports_no_torch() -> None:
    code = (
        "import sys; from mixlab.cli.main import main\n"
        "for arguments in (['models'], ['models', '--paper'], ['--help']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as stopped: assert stopped.code == 0\n"
        "assert not {'torch', 'timm', 'numpy', 'matplotlib'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
