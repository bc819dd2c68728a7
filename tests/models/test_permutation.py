"""What a Mixer may forget: the order of the patches, and of the pixels inside them, if it is the same in every image.

The theorem (after section 3.4 of the Mixer paper). Let T put patch p(a) at place a, and pixel s(q) at place q of every
patch. Permute a Mixer's weights alike: the stem's pixels by s, the patches of every token MLP by p. Then the permuted
model sees in T(x) what the model saw in x. It holds for the family under training, not for one trained network.
"""

import copy
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from mixlab.models.convmixer import ConvMixer, ConvMixerConfig
from mixlab.models.davit import DaViT, DaViTConfig
from mixlab.models.mixer import Mixer, MixerConfig

PATCH = 4
GRID = 6
IMAGES = (8, 3, GRID * PATCH, GRID * PATCH)

mixer_config = MixerConfig(
    image_size=24, classes=7, patch_size=PATCH, channels=16, token_hidden=12, channel_hidden=32, depth=3
)
convmixer_config = ConvMixerConfig(image_size=24, classes=7, patch_size=PATCH, kernel_size=3, channels=16, depth=3)
davit_config = DaViTConfig(
    image_size=24, classes=7, channels=(16, 32), depths=(1, 1), heads=(2, 4), window=3
)  # whose stem also takes a step of 4 pixels

patch_order = torch.randperm(GRID**2, generator=torch.Generator().manual_seed(1))
pixel_order = torch.randperm(PATCH**2, generator=torch.Generator().manual_seed(2))
untouched = torch.arange(GRID**2)
unshuffled = torch.arange(PATCH**2)


def shuffled(images: Tensor, patches: Tensor, pixels: Tensor) -> Tensor:
    """T: patch patches[a] goes to place a, and in every patch pixel pixels[q] to place q."""
    cut = rearrange(images, "b c (row i) (column j) -> b c (row column) (i j)", i=PATCH, j=PATCH)
    moved = cut[:, :, patches][:, :, :, pixels]
    return rearrange(moved, "b c (row column) (i j) -> b c (row i) (column j)", row=GRID, i=PATCH)


def permuted(mixer: Any, patches: Tensor, pixels: Tensor) -> Any:
    """The Mixer that sees in shuffled(x) what `mixer` sees in x."""
    moved = copy.deepcopy(mixer)
    with torch.no_grad():
        moved.stem.weight.copy_(mixer.stem.weight.flatten(2)[:, :, pixels].view_as(mixer.stem.weight))
        for new, old in zip(moved.body, mixer.body, strict=True):
            new.token_mlp.first.weight.copy_(old.token_mlp.first.weight[:, patches])
            new.token_mlp.second.weight.copy_(old.token_mlp.second.weight[patches])
            new.token_mlp.second.bias.copy_(old.token_mlp.second.bias[patches])
    return moved


def difference(logits: Tensor, others: Tensor) -> float:
    """The largest, in units of what tells one image's logits from another's."""
    return ((logits - others).abs().max() / logits.std(dim=0).mean()).item()


def turned(kernel: Tensor) -> list[Tensor]:
    """The eight flips and turns of a square kernel's places."""
    turns = [kernel.rot90(quarter, dims=(2, 3)) for quarter in range(4)]
    return turns + [turn.flip(3) for turn in turns]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(*IMAGES, dtype=torch.float64)


@pytest.mark.parametrize("patches", [untouched, patch_order])
@pytest.mark.parametrize("pixels", [unshuffled, pixel_order])
def test_a_mixer_with_permuted_weights_gives_the_same_logits_for_shuffled_images(images, randomised, patches, pixels):
    mixer = randomised(Mixer(mixer_config))
    answer = permuted(mixer, patches, pixels)(shuffled(images, patches, pixels))
    torch.testing.assert_close(answer, mixer(images), rtol=0, atol=1e-12 * mixer(images).abs().max().item())


def test_one_mixer_alone_tells_a_shuffled_image_from_the_original(images, randomised):
    mixer = randomised(Mixer(mixer_config))
    assert difference(mixer(images), mixer(shuffled(images, patch_order, pixel_order))) > 0.1


def test_matched_mixers_stay_matched_while_they_train(images, randomised):
    """The gradients are permuted alike, and AdamW works value by value: so the runs are one run in two orders."""
    mixer = randomised(Mixer(mixer_config)).train()
    matched = permuted(mixer, patch_order, pixel_order)
    for model, inputs in ((mixer, images), (matched, shuffled(images, patch_order, pixel_order))):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), torch.arange(8) % 7).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    for trained, expected in zip(
        matched.parameters(), permuted(mixer, patch_order, pixel_order).parameters(), strict=True
    ):
        torch.testing.assert_close(trained, expected, rtol=0, atol=1e-10)


def test_a_convmixer_absorbs_the_order_of_the_pixels(images, randomised):
    convmixer = randomised(ConvMixer(convmixer_config))
    logits = convmixer(images)
    stem = convmixer.stem[0]
    stem.weight.data = stem.weight.flatten(2)[:, :, pixel_order].view_as(stem.weight)
    answer = convmixer(shuffled(images, untouched, pixel_order))
    torch.testing.assert_close(answer, logits, rtol=0, atol=1e-12 * logits.abs().max().item())


def test_a_convmixer_does_not_absorb_the_order_of_the_patches(images, randomised):
    """Its kernels can be flipped and turned, which undoes the flip or turn of a whole image and no more."""
    convmixer = randomised(ConvMixer(convmixer_config))
    logits = convmixer(images)
    inputs = shuffled(images, patch_order, unshuffled)
    kernels = [turned(block.depthwise[0].weight.data) for block in convmixer.body]
    differences = []
    for turn in range(8):
        for block, kernel in zip(convmixer.body, kernels, strict=True):
            block.depthwise[0].weight.data = kernel[turn]
        differences.append(difference(logits, convmixer(inputs)))
    assert min(differences) > 0.1


def test_a_convmixer_does_absorb_the_flip_of_a_whole_image(images, randomised):
    """The transformation that the test above applies is a working one."""
    convmixer = randomised(ConvMixer(convmixer_config))
    logits = convmixer(images)
    for convolution in (convmixer.stem[0], *(block.depthwise[0] for block in convmixer.body)):
        convolution.weight.data = convolution.weight.flip(3)
    torch.testing.assert_close(convmixer(images.flip(3)), logits, rtol=0, atol=1e-12 * logits.abs().max().item())


@pytest.mark.parametrize(
    ("patches", "pixels"), [(patch_order, unshuffled), (untouched, pixel_order)], ids=["patches", "pixels"]
)
def test_a_davit_absorbs_neither_order(images, randomised, patches, pixels):
    """Its stem's 4x4 taps inside a patch can follow the pixels, but its other taps see the neighbours' too; and its
    attention would not mind an order within a window, but its convolutions and its windows do."""
    davit = randomised(DaViT(davit_config))
    logits = davit(images)
    inputs = shuffled(images, patches, pixels)

    stem = davit.stem.convolution.weight.data  # taps 3 to 6 of 7 lie inside the patch
    stem[:, :, 3:, 3:] = stem[:, :, 3:, 3:].flatten(2)[:, :, pixels].view(*stem.shape[:2], PATCH, PATCH)
    encodings = [
        encoding.convolution.weight
        for stage in davit.body
        for block in stage.blocks
        for encoding in (block.attention_position, block.mlp_position)
    ]
    kernels = [turned(weight.data) for weight in encodings]
    differences = []
    for turn in range(8):
        for weight, kernel in zip(encodings, kernels, strict=True):
            weight.data = kernel[turn]
        differences.append(difference(logits, davit(inputs)))
    assert min(differences) > 0.1
