"""Every family compiles to one graph with torch.compile, and exports with a dynamic batch with torch.export."""

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from mixlab.models.convmixer import ConvMixerConfig
from mixlab.models.mixer import MixerConfig
from mixlab.models.mlp import Mlp


@pytest.fixture
def model(build, config):
    """Two stages instead of four, because tracing is slow."""
    if isinstance(config, ConvMixerConfig):
        return build(config, depth=2)
    if isinstance(config, MixerConfig):
        return build(config, depth=2, stochastic_depth=0.1)
    return build(config, channels=(8, 16), depths=(1, 1), heads=(1, 2), stochastic_depth=0.1)


@pytest.fixture
def reset_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_shapes_and_dtypes_are_checked_in_these_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        Mlp(4, 8, "erf")(torch.zeros(2, 4, dtype=torch.int64))


def test_the_no_shape_checks_fixture_disables_the_checks(no_shape_checks):
    with pytest.raises(RuntimeError, match="dtype"):  # raised by PyTorch
        Mlp(4, 8, "erf")(torch.zeros(2, 4, dtype=torch.int64))


@pytest.mark.usefixtures("no_shape_checks", "reset_compiler")
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_family_compiles_without_a_graph_break(model, images, mode):
    getattr(model, mode)()
    logits = torch.compile(model, fullgraph=True, backend="eager")(images)
    assert logits.shape == (2, 5)
    logits.sum().backward()


@pytest.mark.usefixtures("no_shape_checks", "reset_compiler")
def test_the_traced_graph_has_the_same_logits_and_gradients(model, images):
    nn.init.normal_(model.head.weight)

    def gradients(call) -> list[Tensor]:
        model.zero_grad()
        call(images).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    model.eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))
    torch.testing.assert_close(gradients(compiled), gradients(model), rtol=1e-4, atol=1e-4)


@pytest.mark.long
@pytest.mark.usefixtures("no_shape_checks", "reset_compiler")
def test_the_compiled_code_has_the_same_logits(model, images):
    nn.init.normal_(model.head.weight)
    model.eval()
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True)(images)
        torch.testing.assert_close(compiled, model(images), rtol=1e-4, atol=1e-4)


def test_an_exported_program_accepts_any_batch_size(model, images, randomised):
    model = randomised(model).float()
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (1, 2, 7):
        batch_images = torch.randn(batch, 3, 32, 32)
        torch.testing.assert_close(program.module()(batch_images), model(batch_images))
