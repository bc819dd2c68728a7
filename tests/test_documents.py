"""Runs all commands of the README and the user guide, in the order of the page, in a temporary folder."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.cli.main import main
from mixlab.training.recipes.key_hints import all_keys
from mixlab.training.recipes.schema import Recipe
from small_texts import write_texts

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

COVERED_ELSEWHERE = {
    "make demo": "tests/comparison/test_main_job.py runs the command with three of the five models",
    "make test": "runs this test",
    'pip install ".[baselines]"': "tests/test_wheel.py builds and checks the wheel",
    "mixlab compare --data cifar10 --models mixer_nano,convmixer_nano,davit_nano --minutes 67": "takes an hour; "
    "tests/comparison/test_compare.py compares at equal time",
    "mixlab compare --data folder:pets": "docs/compare.md has the command for two of the models",
    "mixlab compare --data digits": "tests/comparison/test_main_job.py runs it with three of the five models",
    "python benchmarks/recommendation.py --out rates.json": "tests/stats/test_recommendation_benchmark.py",
    "python benchmarks/recommendation.py --part folds --out folds.json": "tests/stats/test_recommendation_benchmark.py",
    "mixlab compare --data folder:photographs": "needs published weights; tests/cli/test_compare.py uses others",
    "python benchmarks/transfer_photographs.py --weights lite0.pth --data tar:grocery-192.tar --model lite0": "needs "
    "published weights and photographs; tests/benchmarks/test_benchmarks.py converts others",
    "mixlab evaluate lite0 --data tar:grocery-192.tar --probe logistic": "needs published weights and photographs; "
    "tests/evaluation/probes/test_probe.py uses others",
    "mixlab study permutation --data cifar10 --dry-run": "tests/cli/test_study.py runs it on few images",
    "mixlab study permutation --data cifar10": "tests/studies/test_permutation.py runs it on few images",
    "mixlab compare --data cifar10 --models mixer_nano,convmixer_nano --epochs 15 --tune 8 --out tuned": (
        "tests/cli/test_study.py runs it on few images"
    ),
    "mixlab study permutation --data cifar10 --models mixer_nano,convmixer_nano --epochs 15 --tuned tuned": (
        "tests/cli/test_study.py runs it on few images"
    ),
    "mixlab study data-scale --data cifar10 --dry-run": "tests/cli/test_study.py runs it on few images",
    "mixlab study model-scale --data cifar10 --dry-run": "tests/studies/test_model_scale.py runs it on few images",
    "mixlab study convmixer --data digits --dry-run": "tests/studies/test_convmixer.py runs it with smaller models",
    "mixlab study convmixer --data digits": "tests/studies/test_convmixer.py runs it with smaller models",
    "mixlab study position --data two-shapes --dry-run": "tests/studies/test_position.py runs it with smaller models",
    "mixlab study position --data cifar10 --seeds 3 --pilot": "tests/cli/test_study.py runs it on few images",
    "mixlab study position --data two-shapes": "tests/studies/test_position.py runs it with smaller models",
    "mixlab study resolution --data cifar10": "tests/cli/test_study.py runs it on few images",
    "mixlab study resolution --data folder:pets --seeds 2 --epochs 1": "tests/cli/test_study.py runs it",
    "mixlab study transfer --data cifar10": "tests/cli/test_study.py runs it on few images",
    "mixlab study dual-attention --data cifar10": "tests/studies/test_dual_attention.py runs it on few images",
    "mixlab study reproduction --data cifar10": "tests/studies/test_reproduction.py runs it on few images",
    "mixlab study tying --data cifar10": "tests/studies/test_tying.py runs it on few images",
    "mixlab study text --data trec": "needs TREC; tests/studies/test_text.py runs it on few texts",
    "mixlab study patches --data cifar10 --dry-run": "tests/cli/test_study.py runs it on few images",
    "mixlab study patches --data cifar10": "tests/studies/test_patches.py runs it on few images",
    "mixlab study spoken-digits": "needs the recordings; tests/studies/test_spoken_digits.py runs it on tones",
    "mixlab benchmark --paper --out runs/papers": "tests/cli/test_benchmark.py runs it with one model",
    "mixlab train --data folder:pets --model mixer_b16.goog_in21k": "tests/training/test_initial_weights.py",
    "sbatch jobs/array.sh": "needs Slurm; tests/training/test_job_list.py runs array.sh without it",
    "mixlab compare --data folder:pets --models mixer_nano,convmixer_nano --epochs 1 --seeds 2 --out with-ray --ray": (
        "tests/training/test_ray_workers.py runs it with smaller models"
    ),
    "mixlab predict runs/first photos --precision int8": "tests/prediction/test_int8.py",
    "mixlab train small_images_convmixer --data folder:fruit --set image_size=64 --set epochs=60 --out runs/fruit": (
        "needs photographs; tests/cli/test_train.py trains on others"
    ),
    "mixlab explain runs/fruit fruit/test/Kiwi/Kiwi_015.jpg --method occlusion,grad-cam --window 8 --stride 4 --out "
    "fruit-maps": "needs photographs; tests/cli/test_explain.py uses others",
    "mixlab train --data digits --model mixer_nano --set epochs=40 --set config.channels=48 --set config.depth=4 --set "
    "config.token_hidden=48 --set config.channel_hidden=96 --set speed=off --out runs/demo-page": "takes a minute",
    "mixlab export runs/demo-page demo --to web": "tests/export/test_web_page_in_a_browser.py opens docs/demo",
    "mixlab export pets-run pets-page --to web": "tests/cli/test_export_page.py",
    "mixlab export runs/first page --to web": "tests/cli/test_export_page.py has no network; "
    "tests/export/test_web_page_in_a_browser.py opens the page",
    "mixlab export runs/first page --to web --runtime onnxruntime-web-1.30.0.tgz": "tests/export/test_web_runtime.py",
    "npm pack onnxruntime-web@1.30.0": "needs a network",
    "python -m http.server --directory page": "does not end",
    'pip install ".[serve]"': "tests/test_makefile.py: the tests install it",
    "mixlab serve pets-run": "does not end; tests/serve/test_kills.py starts and stops the command",
    "mixlab serve runs/first": "does not end; tests/serve/test_kills.py starts and stops the command",
    "mixlab serve runs/first --host 0.0.0.0 --token-file token": "does not end; tests/cli/test_serve.py",
    "curl --data-binary @photos/0.png http://127.0.0.1:8000/predict": "tests/serve/test_guide.py",
    'curl --form files=@photos/0.png --form files=@photos/1.png "http://127.0.0.1:8000/predict?top=2"': (
        "tests/serve/test_guide.py"
    ),
    'curl --header "Authorization: Bearer $(cat token)" --data-binary @photos/0.png http://127.0.0.1:8000/predict': (
        "tests/serve/test_guide.py"
    ),
    "mixlab study dense --data masks:camvid": "tests/studies/test_dense.py runs it on few images",
    "mixlab predict mixer_b16.goog_in1k photos": "needs published weights; tests/weights/test_source.py serves a file",
}


FIRST = "mixlab train --data digits --model mixer_nano --set epochs=2 --out runs/first"

WEIGHTS = {  # made with the authors' code, as a replacement for the published files
    "Mixer-B_16.npz": "google_mixer_tiny.npz",
    "convmixer.pth.tar": "locuslab_convmixer_tiny.pth.tar",
    "davit.pth.tar": "msft_davit_tiny.pth.tar",
}


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line.split(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def timings_cache(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All pages share the timings of autotuning, as on the machine of a user."""
    monkeypatch.setattr("mixlab.training.planning.autotune.cache_folder", lambda: caches)
    return caches / "timings"


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the training that the pages of the guide use."""
    folder = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MIXLAB_RUNS", raising=False)
        run_in_process(FIRST)
    return folder / "runs" / "first"


def run_in_process(command: str, status: int = 0) -> None:
    """Run a `mixlab` command, which has to end with this status."""
    program, *arguments = shlex.split(command)
    assert program == "mixlab", command
    has_quiet = arguments[0] in ("train", "compare") or (arguments[0] == "study" and len(arguments) > 1)
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments, "--quiet"] if has_quiet else arguments)
    assert (exit_info.value.code or 0) == status, command


def test_pages_contain_commands():
    assert sum(len(commands(page)) for page in PAGES) > 15


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    _create_example_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIXLAB_RUNS", raising=False)
    page_commands = commands(page)
    if any("runs/first" in command for command in page_commands):
        first_run = request.getfixturevalue("first_run")  # trained within the fixtures of a test
        shutil.copytree(first_run, tmp_path / "runs" / "first")
        page_commands = [command for command in page_commands if "--out runs/first" not in command]
    for name, source in re.findall(
        r"^```python\n# (\w+\.py)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S
    ):
        (tmp_path / name).write_text(source)
    for index, command in enumerate(page_commands):
        if command in COVERED_ELSEWHERE:
            continue
        program, *arguments = shlex.split(command)
        if program in ("bash", "python"):
            executable = sys.executable if program == "python" else program
            subprocess.run([executable, *arguments], check=True, capture_output=True)
        elif program in ("torchrun", "accelerate"):
            subprocess.run([Path(sys.executable).with_name(program), *arguments], check=True, capture_output=True)
        else:
            is_list = "--jobs" in arguments and command not in page_commands[:index]
            run_in_process(command, 75 if is_list else 0)


def test_python_on_the_page_about_weights_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _create_example_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/weights.md", "exec"), {})


def test_python_on_the_page_about_timm_runs_with_the_results_of_its_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copy(ROOT / "tests" / "golden" / "google_mixer_tiny.npz", tmp_path / "google_mixer.npz")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "from_timm.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/from_timm.md", "exec"), names)
    assert names["logits"].shape == (2, 10)
    assert names["features"].shape == (2, names["channels"])
    assert [tuple(each.shape[:2]) for each in names["maps"]] == [(2, 32), (2, 64)]
    size = names["model"].config.image_size
    assert names["model"](torch.rand(1, 3, size, size)).shape == (1, 3)
    assert names["list_models"]("mixer_b16_224") == ["mixer_b16"]
    assert names["card"]("mixer_b16_224.goog_in21k").name == "mixer_b16.goog_in21k"


def test_settings_on_the_page_about_timm_are_keys_of_recipes():
    page = (ROOT / "docs" / "from_timm.md").read_text(encoding="utf-8")
    keys = set(re.findall(r"--set ([\w.]+)=", page))
    assert len(keys) == 9
    assert keys <= {*all_keys(Recipe), "config.stochastic_depth"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_a_page_compiles(page: Path):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec")


def _create_example_files(folder: Path) -> None:
    """Create pets/ with two classes that a small model can distinguish, photos/ without classes, and small weights."""
    for file, golden in WEIGHTS.items():
        shutil.copy(ROOT / "tests" / "golden" / golden, folder / file)
    rng = np.random.default_rng(0)
    for label, brightness in (("cats", 60), ("dogs", 190)):
        for number in range(30):
            noise = rng.integers(-40, 40, size=(40, 48, 3))
            path = folder / "pets" / label / f"{number:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((brightness + noise).clip(0, 255).astype(np.uint8)).save(path)
    write_texts(folder / "questions.csv", 120)
    (folder / "questions.txt").write_text("where is my card?\nhow do i get there\n")
    (folder / "photos").mkdir()
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, size=(60, 40, 3), dtype=np.uint8)).save(
            folder / "photos" / f"{number}.png"
        )
