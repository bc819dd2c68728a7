"""The families go through torch.compile as one graph, and through torch.export for any batch."""

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from mixlab.models.convmixer import ConvMixerConfig
from mixlab.models.mixer import MixerConfig
from mixlab.models.mlp import Mlp


@pytest.fixture
def model(build, config):
    """Tracing takes its time: two stages tell as much as four."""
    if isinstance(config, ConvMixerConfig):
        return build(config, depth=2)
    if isinstance(config, MixerConfig):
        return build(config, depth=2, stochastic_depth=0.1)
    return build(config, channels=(8, 16), depths=(1, 1), heads=(1, 2), stochastic_depth=0.1)


@pytest.fixture
def compiled_afresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_shapes_and_types_are_checked_in_these_tests():
    with pytest.raises(jaxtyping.TypeCheckError):
        Mlp(4, 8, "erf")(torch.zeros(2, 4, dtype=torch.int64))


def test_the_fixture_for_compiling_switches_those_checks_off(no_shape_checks):
    with pytest.raises(RuntimeError, match="dtype"):  # PyTorch's own
        Mlp(4, 8, "erf")(torch.zeros(2, 4, dtype=torch.int64))


@pytest.mark.usefixtures("no_shape_checks", "compiled_afresh")
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_family_compiles_without_a_graph_break(model, images, mode):
    getattr(model, mode)()
    logits = torch.compile(model, fullgraph=True, backend="eager")(images)
    assert logits.shape == (2, 5)
    logits.sum().backward()


@pytest.mark.usefixtures("no_shape_checks", "compiled_afresh")
def test_the_traced_graph_and_its_backward_are_the_family_s(model, images):
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
@pytest.mark.usefixtures("no_shape_checks", "compiled_afresh")
def test_the_compiled_code_gives_the_family_s_logits(model, images):
    nn.init.normal_(model.head.weight)
    model.eval()
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True)(images)
        torch.testing.assert_close(compiled, model(images), rtol=1e-4, atol=1e-4)


def test_an_exported_program_takes_any_batch(model, images, randomised):
    model = randomised(model).float()
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (1, 2, 7):
        batch_images = torch.randn(batch, 3, 32, 32)
        torch.testing.assert_close(program.module()(batch_images), model(batch_images))
