"""The page in a real browser, beside `Predictor`."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from browser import RunInBrowser
from mixlab.data.image_file import read_image
from mixlab.data.preprocess import Preprocess
from mixlab.errors import UserError
from mixlab.export.web_page import write_page
from mixlab.export.web_runtime import WEBASSEMBLY, write_runtime
from mixlab.prediction.explainer import Explainer
from mixlab.prediction.predictor import Predictor
from mixlab.weights.adapt import Weights
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.weights.storage.write import write_model_folder
from mixlab.zoo.architecture import architecture

pytestmark = pytest.mark.long

DEMO = Path(__file__).parents[2] / "docs" / "demo"

CLASSES = ("cat", "dog", 'a "fox", red')

ASK_WORKER = """
    const worker = new Worker("./classifier.mjs", { type: "module" });
    const answers = [];
    let wake;
    worker.onmessage = ({ data }) => { answers.push(data); wake?.(); };
    worker.onerror = (event) => report({ error: event.message });
    const next = async () => {
      while (!answers.length) await new Promise((resolve) => (wake = resolve));
      return answers.shift();
    };
    const ask = async (task, input) => {
      worker.postMessage({ id: 1, task, input });
      for (;;) {
        const answer = await next();
        if (answer.id) return answer;
      }
    };
    await next();  // the worker is ready
    const file = async (name) => new File([await (await fetch(name)).blob()], name);
"""
"""Functions of a script: `ask(task, input)` and `file(name)`."""


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX Runtime Web, fetched once for all tests."""
    folder = tmp_path_factory.mktemp("runtime")
    try:
        write_runtime(folder, None, WEBASSEMBLY)
    except UserError as error:
        pytest.skip(str(error))
    return folder


def _model(folder: Path, name: str, preprocess: Preprocess) -> None:
    """A folder with a model of random weights."""
    model = architecture(name, classes=len(CLASSES), image_size=preprocess.image_size[0]).build()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)  # a head of zeros would make all probabilities equal
    folder.mkdir()
    config = architecture(name, classes=len(CLASSES), image_size=preprocess.image_size[0])
    write_model_folder(folder, Weights(config.family, config.config, model.state_dict()), CLASSES, preprocess)


def _write(folder: Path, preprocess: Preprocess, runtime: Path) -> None:
    """The page of the model in `folder`."""
    (folder / "page").mkdir()
    model = build_with_weights(load_pretrained(folder / "model").weights)
    write_page(folder / "page", model, preprocess, "a model", CLASSES, runtime)


def _files() -> dict[str, bytes]:
    """One picture in the formats that browsers read."""
    noise = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((123, 77), Image.Resampling.BICUBIC)
    grey = image.convert("L")
    transparent = image.copy()
    transparent.putalpha(grey)
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "colour.png": _encoded(image, "PNG"),
        "grey.png": _encoded(grey, "PNG"),
        "palette.png": _encoded(image.convert("P"), "PNG"),
        "transparent.png": _encoded(transparent, "PNG"),
        "deep.png": _encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        "thin.png": _encoded(image.resize((400, 3)), "PNG"),
        "point.png": _encoded(image.resize((1, 1)), "PNG"),
        "large.png": _encoded(image.resize((1500, 1100)), "PNG"),
        "colour.jpg": _encoded(image, "JPEG", quality=90),
        "subsampled.jpg": _encoded(image, "JPEG", quality=75, subsampling=2),
        "progressive.jpg": _encoded(image, "JPEG", progressive=True),
        "grey.jpg": _encoded(grey, "JPEG"),
        "cmyk.jpg": _encoded(image.convert("CMYK"), "JPEG"),
        "turned.jpg": _encoded(image, "JPEG", exif=turned),
        "lossless.webp": _encoded(image, "WEBP", lossless=True),
        "lossy.webp": _encoded(image, "WEBP", quality=80),
        "colour.gif": _encoded(image, "GIF"),
        "colour.bmp": _encoded(image, "BMP"),
    }


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "preprocess"),
    [
        ("mixer_nano", Preprocess((32, 32), "stretch", interpolation="bilinear")),
        ("convmixer_nano", Preprocess((32, 32), "stretch_and_crop", 0.9)),
        ("davit_nano", Preprocess((64, 64), "shorter_side", 0.875)),
        ("timm:resnet18", Preprocess((40, 40), "shorter_side")),
    ],
)
def test_the_page_answers_like_the_predictor_for_every_format(
    name: str, preprocess: Preprocess, tmp_path: Path, runtime: Path, run_in_browser: RunInBrowser
) -> None:
    _model(tmp_path / "model", name, preprocess)
    _write(tmp_path, preprocess, runtime)
    files = _files()
    script = f"""{ASK_WORKER}
        const found = {{}};
        for (const name of {json.dumps(list(files))}) {{
            const {{ result, error }} = await ask("classify", await file(name));
            if (error) throw new Error(`${{name}}: ${{error}}`);
            found[name] = {{ seen: [...result.seen], probabilities: [...result.probabilities] }};
        }}
        const covered = await ask("occlusion", await file("colour.png"));
        report({{ found, drops: covered.result }});"""
    reported = run_in_browser(tmp_path / "page", script, files)
    found = reported["found"]
    predictor = Predictor(tmp_path / "model", speed="off")
    for file, content in files.items():
        seen = preprocess.resized(read_image(content)).permute(1, 2, 0)
        assert found[file]["seen"] == seen.flatten().tolist(), file
        predicted = predictor(content).probabilities
        assert np.argmax(found[file]["probabilities"]) == predicted.argmax(), file
        np.testing.assert_allclose(found[file]["probabilities"], predicted, atol=1e-5, err_msg=file)
    explainer = Explainer(tmp_path / "model", speed="off")
    expected = explainer(files["colour.png"]).maps["occlusion"].values
    np.testing.assert_allclose(reported["drops"], expected.flatten(), atol=1e-4)


def test_the_demo_reads_digits(tmp_path: Path, runtime: Path, run_in_browser: RunInBrowser) -> None:
    for folder in (DEMO, runtime):
        shutil.copytree(folder, tmp_path / "page", dirs_exist_ok=True)
    pixels, targets = load_digits(return_X_y=True)
    digits = np.asarray(pixels)[:50].reshape(50, 8, 8)
    images = [Image.fromarray((each * 255 / 16).round().astype(np.uint8)) for each in digits]
    files = {f"{index}.png": _encoded(image, "PNG") for index, image in enumerate(images)}
    script = f"""{ASK_WORKER}
        const labels = [];
        for (const name of {json.dumps(list(files))}) {{
            const {{ result }} = await ask("classify", await file(name));
            labels.push(result.probabilities.indexOf(Math.max(...result.probabilities)));
        }}
        report(labels);"""
    labels = run_in_browser(tmp_path / "page", script, files)
    assert np.mean(np.array(labels) == np.asarray(targets)[:50]) > 0.9


def test_the_page_shows_labels_maps_errors_and_a_table(
    tmp_path: Path, runtime: Path, run_in_browser: RunInBrowser
) -> None:
    preprocess = Preprocess((32, 32))
    _model(tmp_path / "model", "mixer_nano", preprocess)
    _write(tmp_path, preprocess, runtime)
    files = {name: content for name, content in _files().items() if name in ("colour.png", "grey.jpg")}
    files |= {"damaged.png": files["colour.png"][:100], "scan.tif": b"II*", "notes.txt": b"no image"}
    script = f"""
        const frame = document.createElement("iframe");
        frame.src = "index.html";
        const pause = () => new Promise((wake) => setTimeout(wake, 20));
        const until = async (condition) => {{ while (!condition()) await pause(); }};
        document.body.append(frame);
        await until(() => frame.contentDocument?.body?.dataset?.ready);
        const page = frame.contentDocument;
        const texts = (selector) => [...page.querySelectorAll(selector)].map((each) => each.textContent);
        const chosen = new frame.contentWindow.DataTransfer();
        for (const name of {json.dumps(list(files))}) {{
            const type = name.endsWith("txt") ? "text/plain" : "image/" + name.split(".")[1];
            chosen.items.add(new frame.contentWindow.File([await (await fetch(name)).blob()], name, {{ type }}));
        }}
        const input = page.getElementById("images");
        input.files = chosen.files;
        input.dispatchEvent(new Event("change"));
        await until(() => texts("#status")[0].startsWith("2 of 4 classified, with"));
        page.querySelector('[data-map="occlusion"]').click();
        await until(() => texts("#map-caption")[0].startsWith("Occlusion for"));
        let csv;
        frame.contentWindow.URL.createObjectURL = (blob) => {{ csv = blob; return ""; }};
        page.getElementById("download").click();
        report({{
            names: texts("#thumbnails .name"), labels: texts("#thumbnails .label"), errors: texts("#errors li"),
            answer: texts("#answer")[0], first: texts("#labels li")[0], csv: await csv.text(),
            activation: !page.querySelector('[data-map="activation"]').hidden,
            width: page.documentElement.scrollWidth <= page.documentElement.clientWidth,
        }});"""
    found = run_in_browser(tmp_path / "page", script, files)
    assert found["names"] == ["colour.png", "grey.jpg"]
    assert found["errors"] == [
        "damaged.png can't be decoded: the file is damaged, or its format is not one of this browser's.",
        "scan.tif: this browser can't decode TIFF. Save the image as JPEG or PNG.",
    ]
    assert found["activation"]
    assert found["width"]
    predictor = Predictor(tmp_path / "model", speed="off")
    label, probability = predictor(files["grey.jpg"]).top(1)[0]
    assert found["answer"] == f"{label}, {100 * probability:.1f} %"
    assert found["first"] == f"{label}{100 * probability:.1f} %"
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert [row["label"] for row in rows] == [predictor(files[name]).label for name in found["names"]]
    assert float(rows[1]["probability"]) == pytest.approx(probability, abs=1e-5)


def test_a_page_with_another_model_than_its_data_refuses_to_answer(
    tmp_path: Path, runtime: Path, run_in_browser: RunInBrowser
) -> None:
    preprocess = Preprocess((32, 32))
    _model(tmp_path / "model", "mixer_nano", preprocess)
    _write(tmp_path, preprocess, runtime)
    data = json.loads((tmp_path / "page" / "model.json").read_text(encoding="utf-8"))
    data["check"]["probabilities"].reverse()
    (tmp_path / "page" / "model.json").write_text(json.dumps(data), encoding="utf-8")
    script = """
        const worker = new Worker("./classifier.mjs", { type: "module" });
        worker.onerror = (event) => report(event.message);
        worker.onmessage = () => report("answers");"""
    assert "gives other answers in this browser" in run_in_browser(tmp_path / "page", script, {})
