"""The networks for texts: padding has no effect, and the anatomy is that of all models."""

import pytest
import torch
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.models.hashed_tokens import require_fitting_tokens
from mixlab.zoo.architecture import architecture

NAMES = ("variant:text_mixer", "variant:text_transformer")
SIZES = {
    "tokens": 12,
    "features": 4,
    "buckets": 50,
    "channels": 16,
    "channel_hidden": 24,
    "classes": 5,
}


def built(name: str, **fields: object) -> nn.Module:
    """A model in float64 with weights that are all different from those of a new one."""
    model = architecture(name, **SIZES | fields).build().double().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def text(tokens: int, length: int, seed: int = 0) -> Tensor:
    """A text with `tokens` tokens, padded to `length`."""
    generator = torch.Generator().manual_seed(seed)
    result = torch.zeros(1, length, 4, dtype=torch.int64)
    result[:, :tokens] = torch.randint(1, 50, (1, tokens, 4), generator=generator)
    return result


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_a_text_has_the_same_logits_at_every_padded_length(name: str):
    model = built(name)
    logits = [model(text(5, length)) for length in (5, 6, 9, 12)]
    assert logits[0].abs().max() > 0.01
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_the_other_texts_of_a_batch_have_no_effect(name: str):
    model = built(name)
    texts = [text(tokens, 12, seed=tokens) for tokens in (1, 5, 12)]
    together = model(torch.cat(texts))
    alone = torch.cat([model(one) for one in texts])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_what_is_stored_for_padding_has_no_effect(name: str):
    model = built(name)
    before = model(text(5, 12))
    (embedding,) = [weight for name, weight in model.named_parameters() if name.endswith("embedding.weight")]
    embedding[0] += 7
    assert torch.equal(model(text(5, 12)), before)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_the_order_of_the_tokens_has_an_effect(name: str):
    model = built(name)
    assert not torch.allclose(model(text(5, 5)), model(text(5, 5).flip(1)), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_those_of_the_head_on_the_embedding(name: str):
    model = built(name)
    texts = text(5, 12)
    assert torch.equal(model(texts), model.get_submodule("head")(model.embed(texts)))  # pyright: ignore
    (feature_map,) = model.feature_maps(texts)  # pyright: ignore
    assert feature_map.shape == (1, 16, 1, 12)


@pytest.mark.parametrize("name", NAMES)
def test_multiply_accumulates_are_counted(name: str):
    assert architecture(name, **SIZES, depth=2).macs > architecture(name, **SIZES, depth=1).macs > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_text_that_is_too_long_is_refused(name: str):
    with pytest.raises(UserError, match="at most 12 tokens, but got"):
        built(name)(text(13, 13))


def test_an_image_is_refused():
    with pytest.raises(UserError, match=r"at most 12 tokens, but got torch.float32 of shape \(1, 3, 12, 12\)"):
        require_fitting_tokens(torch.zeros(1, 3, 12, 12), 12)


@pytest.mark.parametrize("name", NAMES)
def test_dropped_tokens_are_padding_in_training_only(name: str):
    model = built(name, token_dropout=0.9).train()
    torch.manual_seed(0)
    assert not torch.equal(model(text(12, 12)), model(text(12, 12)))
    model.eval()
    assert torch.equal(model(text(12, 12)), model(text(12, 12)))


@pytest.mark.parametrize("name", NAMES)
def test_a_text_without_tokens_has_finite_logits_and_gradients(name: str):
    model = built(name)
    model(torch.zeros(2, 12, 4, dtype=torch.int64)).sum().backward()
    assert all(parameter.grad is None or bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_heads_must_divide_the_channels():
    with pytest.raises(UserError, match="channels=16 is not a multiple of heads=3"):
        architecture("variant:text_transformer", **SIZES, heads=3)
