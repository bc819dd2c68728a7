"""Export to a model repository for NVIDIA Triton. Triton itself does not run here."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixlab.errors import UserError
from mixlab.export import triton as module
from mixlab.export.triton import CONFIG, LABELS, MAX_BATCH, export_triton, triton_config
from mixlab.weights.exported import MODEL
from mixlab.weights.load import build_with_weights, load_pretrained
from small_model import write_model

pytest.importorskip("onnxscript", reason='needs onnx and onnxscript: pip install "mixlab[deploy]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "mixlab[deploy]"')

CLASSES = ("cat", "large  dog\n", "füchse")


def quiet(line: str) -> None: ...


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("source") / "my model:2", classes=CLASSES)


@pytest.fixture(scope="module")
def repository(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triton") / "out"
    export_triton(source, out, log=quiet)
    return out


def test_the_repository_has_one_version_of_one_model(repository):
    files = sorted(file.relative_to(repository).as_posix() for file in repository.rglob("*") if file.is_file())
    assert files == [f"my_model_2/{name}" for name in (f"1/{MODEL}", CONFIG, LABELS)]


def test_each_class_has_one_line_of_the_labels(repository):
    assert (repository / "my_model_2" / LABELS).read_text("utf-8").splitlines() == ["cat", "large dog", "füchse"]


def test_the_graph_has_the_inputs_and_outputs_of_the_configuration(repository):
    session = onnxruntime.InferenceSession(repository / "my_model_2" / "1" / MODEL)
    assert [(each.name, each.type, each.shape) for each in session.get_inputs()] == [
        ("images", "tensor(uint8)", ["batch", "rows", "columns", 3])
    ]
    assert session.get_overridable_initializers() == []
    assert [(each.name, each.type, each.shape) for each in session.get_outputs()] == [
        (name, "tensor(float)", ["batch", len(CLASSES)]) for name in ("probabilities", "logits")
    ]


def test_a_batch_of_images_of_one_size_has_the_probabilities_of_mixlab(source, repository):
    images = np.random.default_rng(0).integers(0, 256, (3, 37, 50, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(repository / "my_model_2" / "1" / MODEL)
    (found,) = session.run(["probabilities"], {"images": images})
    pretrained = load_pretrained(source)
    model = build_with_weights(pretrained.weights)
    expected = [model(pretrained.preprocess(image)[None]).softmax(dim=1)[0].tolist() for image in images]
    assert found.tolist() == pytest.approx(np.array(expected), abs=1e-5)


def tritons_definition() -> Any:
    """The module of `ModelConfig`, without the rest of the client, which needs more packages."""
    pytest.importorskip("google.protobuf", reason="needs protobuf and tritonclient: pip install protobuf tritonclient")
    client = pytest.importorskip("tritonclient", reason="needs Triton's protobuf definition: pip install tritonclient")
    spec = spec_from_file_location("model_config_pb2", Path(client.__path__[0]) / "grpc" / "model_config_pb2.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tritons_own_definition_reads_the_configuration(repository):
    definition = tritons_definition()
    from google.protobuf import text_format

    config = text_format.Parse((repository / "my_model_2" / CONFIG).read_text(), definition.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("my_model_2", "onnxruntime", MAX_BATCH)
    ((images,), (probabilities, logits)) = config.input, config.output
    assert (images.name, images.data_type, list(images.dims)) == ("images", definition.TYPE_UINT8, [-1, -1, 3])
    for output in (probabilities, logits):
        assert (output.data_type, list(output.dims)) == (definition.TYPE_FP32, [len(CLASSES)])
    assert (probabilities.label_filename, logits.label_filename) == (LABELS, "")
    assert config.HasField("dynamic_batching")


def test_dims_are_without_the_batch():
    assert "dims: [ -1, -1, 3 ]" in triton_config("name", 7) and triton_config("name", 7).count("dims: [ 7 ]") == 2


def test_a_graph_with_other_answers_is_not_written(source, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCES", {"fp32": -1.0})
    with pytest.raises(UserError, match="was not written, because it does not answer like mixlab for a JPEG"):
        export_triton(source, tmp_path / "out", log=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_head_is_refused(tmp_path):
    source = write_model(tmp_path / "model", classes=())
    with pytest.raises(UserError, match="has no head, so it can't predict labels: give a model with classes"):
        export_triton(source, tmp_path / "out", log=quiet)
