"""A Mixer is invariant to a fixed permutation of the patches, and of the pixels within all patches.

Theorem (after section 3.4 of the Mixer paper). Let T move patch p(a) to position a, and pixel s(q) to position q of
every patch. Permute the weights of a Mixer in the same way: the stem's pixels by s, the patches of every token MLP by
p. Then the permuted model has the same logits for T(x) as the model for x. This holds for training the family, not for
one trained network.
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
)  # the stem has a stride of 4 pixels, the same as PATCH

patch_order = torch.randperm(GRID**2, generator=torch.Generator().manual_seed(1))
pixel_order = torch.randperm(PATCH**2, generator=torch.Generator().manual_seed(2))
identity_patches = torch.arange(GRID**2)
identity_pixels = torch.arange(PATCH**2)


def shuffled(images: Tensor, patches: Tensor, pixels: Tensor) -> Tensor:
    """T: patch patches[a] moves to position a, and pixel pixels[q] to position q of every patch."""
    patched = rearrange(images, "b c (row i) (column j) -> b c (row column) (i j)", i=PATCH, j=PATCH)
    permuted = patched[:, :, patches][:, :, :, pixels]
    return rearrange(permuted, "b c (row column) (i j) -> b c (row i) (column j)", row=GRID, i=PATCH)


def permuted(mixer: Any, patches: Tensor, pixels: Tensor) -> Any:
    """The Mixer that has the same logits for shuffled(x) as `mixer` has for x."""
    result = copy.deepcopy(mixer)
    with torch.no_grad():
        result.stem.weight.copy_(mixer.stem.weight.flatten(2)[:, :, pixels].view_as(mixer.stem.weight))
        for new, old in zip(result.body, mixer.body, strict=True):
            new.token_mlp.first.weight.copy_(old.token_mlp.first.weight[:, patches])
            new.token_mlp.second.weight.copy_(old.token_mlp.second.weight[patches])
            new.token_mlp.second.bias.copy_(old.token_mlp.second.bias[patches])
    return result


def difference(logits: Tensor, others: Tensor) -> float:
    """Largest difference of the logits relative to their standard deviation over images."""
    return ((logits - others).abs().max() / logits.std(dim=0).mean()).item()


def flips_and_rotations(kernel: Tensor) -> list[Tensor]:
    """The eight flips and rotations of a square kernel."""
    rotations = [kernel.rot90(quarter, dims=(2, 3)) for quarter in range(4)]
    return rotations + [rotation.flip(3) for rotation in rotations]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(*IMAGES, dtype=torch.float64)


@pytest.mark.parametrize("patches", [identity_patches, patch_order])
@pytest.mark.parametrize("pixels", [identity_pixels, pixel_order])
def test_a_mixer_with_permuted_weights_has_the_same_logits_for_shuffled_images(images, randomised, patches, pixels):
    mixer = randomised(Mixer(mixer_config))
    logits = permuted(mixer, patches, pixels)(shuffled(images, patches, pixels))
    torch.testing.assert_close(logits, mixer(images), rtol=0, atol=1e-12 * mixer(images).abs().max().item())


def test_a_mixer_has_different_logits_for_a_shuffled_image(images, randomised):
    mixer = randomised(Mixer(mixer_config))
    assert difference(mixer(images), mixer(shuffled(images, patch_order, pixel_order))) > 0.1


def test_a_mixer_and_its_permutation_stay_equivalent_during_training(images, randomised):
    """The gradients are permuted in the same way, and AdamW is elementwise."""
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


def test_a_convmixer_is_invariant_to_the_order_of_the_pixels(images, randomised):
    convmixer = randomised(ConvMixer(convmixer_config))
    logits = convmixer(images)
    stem = convmixer.stem[0]
    stem.weight.data = stem.weight.flatten(2)[:, :, pixel_order].view_as(stem.weight)
    shuffled_logits = convmixer(shuffled(images, identity_patches, pixel_order))
    torch.testing.assert_close(shuffled_logits, logits, rtol=0, atol=1e-12 * logits.abs().max().item())


def test_a_convmixer_is_not_invariant_to_the_order_of_the_patches(images, randomised):
    """Flipping or rotating its kernels compensates a flip or rotation of the whole image only."""
    convmixer = randomised(ConvMixer(convmixer_config))
    logits = convmixer(images)
    inputs = shuffled(images, patch_order, identity_pixels)
    kernels = [flips_and_rotations(block.depthwise[0].weight.data) for block in convmixer.body]
    differences = []
    for turn in range(8):
        for block, kernel in zip(convmixer.body, kernels, strict=True):
            block.depthwise[0].weight.data = kernel[turn]
        differences.append(difference(logits, convmixer(inputs)))
    assert min(differences) > 0.1


def test_a_convmixer_is_invariant_to_the_flip_of_a_whole_image(images, randomised):
    """Checks that the transformation of the test above works."""
    convmixer = randomised(ConvMixer(convmixer_config))
    logits = convmixer(images)
    for convolution in (convmixer.stem[0], *(block.depthwise[0] for block in convmixer.body)):
        convolution.weight.data = convolution.weight.flip(3)
    torch.testing.assert_close(convmixer(images.flip(3)), logits, rtol=0, atol=1e-12 * logits.abs().max().item())


@pytest.mark.parametrize(
    ("patches", "pixels"), [(patch_order, identity_pixels), (identity_patches, pixel_order)], ids=["patches", "pixels"]
)
def test_a_davit_is_invariant_to_neither_order(images, randomised, patches, pixels):
    """The 4x4 taps of the stem inside a patch can be permuted, but the other taps overlap the neighbouring patches.
    Attention is invariant to the order within a window, but the convolutions and the windows are not."""
    davit = randomised(DaViT(davit_config))
    logits = davit(images)
    inputs = shuffled(images, patches, pixels)

    stem = davit.stem.convolution.weight.data  # taps 3 to 6 of 7 are inside the patch
    stem[:, :, 3:, 3:] = stem[:, :, 3:, 3:].flatten(2)[:, :, pixels].view(*stem.shape[:2], PATCH, PATCH)
    encodings = [
        encoding.convolution.weight
        for stage in davit.body
        for block in stage.blocks
        for encoding in (block.attention_position, block.mlp_position)
    ]
    kernels = [flips_and_rotations(weight.data) for weight in encodings]
    differences = []
    for turn in range(8):
        for weight, kernel in zip(encodings, kernels, strict=True):
            weight.data = kernel[turn]
        differences.append(difference(logits, davit(inputs)))
    assert min(differences) > 0.1
