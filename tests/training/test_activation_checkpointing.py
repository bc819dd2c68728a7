"""Activation checkpointing: the same trained weights, in less memory."""

import pytest
import torch

from mixlab.errors import UserError
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.speed.training_rewrites import TrainingRewrites
from mixlab.training.activation_checkpointing import blocks_of, build_for_steps, checkpointed
from mixlab.training.loop import train
from mixlab.training.planning.memory import estimate_memory
from mixlab.zoo.architecture import architecture, create_model

ON = "activation_checkpointing=blocks"
MODELS = {
    "mixer": (),
    "convmixer": ("model=convmixer_nano", "config={patch_size=2, kernel_size=5, channels=8, depth=2}"),
    "davit": (
        "model=davit_nano",
        "config={channels=[8, 16], depths=[1, 1], heads=[1, 2], window=2, stochastic_depth=0.5}",
        "image_size=16",
    ),
    "timm with batch normalisation": ("model=timm:resnet18", "config={drop_rate=0.0}", "image_size=32"),
    "timm": ("model=timm:vit_tiny_patch16_224", "config={embed_dim=8, depth=2, num_heads=1, patch_size=2}"),
}


@pytest.mark.parametrize(
    ("model", "rewrites"),
    [
        *((model, ()) for model in MODELS),
        ("convmixer", ("fused_convmixer",)),
        ("mixer", ("untransposed_mixer", "native_gelu")),
        ("davit", ("unfused_attention",)),
    ],
)
def test_a_training_ends_with_the_same_weights_and_running_statistics(make_job, tmp_path, model, rewrites):
    plan = Plan("cpu", ComputeMode(), 8, rewrites=TrainingRewrites(rewrites))
    runs = [
        train(make_job(*MODELS[model], *given, "steps=3"), plan, tmp_path / str(len(given)), quiet=True)
        for given in ((), (ON,))
    ]
    without, with_checkpointing = (run.weights.read_bytes() for run in runs)
    assert with_checkpointing == without


def test_a_model_of_timm_without_checkpointing_is_refused(make_job):
    job = make_job(ON, "model=timm:vgg11", "config={drop_rate=0.0}", "image_size=32")
    sentence = "timm has no activation checkpointing for vgg11: remove activation_checkpointing, or use another model"
    with pytest.raises(UserError, match=sentence):
        build_for_steps(job, torch.device("cpu"), Plan("cpu", ComputeMode(), 8))


@pytest.mark.parametrize("name", ["mixer_nano", "convmixer_nano", "davit_nano"])
def test_blocks_are_computed_twice_in_training_and_once_in_evaluation(name):
    network = create_model(name, classes=3)
    calls = []
    for block in blocks_of(network):
        next(block.children()).register_forward_hook(lambda *_: calls.append(1))
    checkpointed(network, TrainingRewrites())
    images = torch.randn(2, 3, 32, 32)
    network(images).sum().backward()
    assert len(calls) == 2 * len(blocks_of(network))
    calls.clear()
    network.eval()(images).sum().backward()
    assert len(calls) == len(blocks_of(network))


@pytest.mark.parametrize("channels", [8, 24])
def test_the_estimated_memory_of_another_block_is_that_of_its_input(make_job, channels):
    def activations(depth: int) -> int:
        job = make_job(ON, "model=mixer_nano", f"config={{channels={channels}, depth={depth}, patch_size=2}}")
        sizes = estimate_memory(job, Plan("cpu", ComputeMode(), 8), job.architecture.on_meta())
        return sizes["activations for the backward pass"]

    input_bytes = 4 * 8 * 16 * channels  # fp32, images, patches
    assert activations(4) - activations(3) == pytest.approx(input_bytes, rel=0.2)


def test_the_blocks_of_a_davit_are_those_of_its_stages():
    network = architecture("davit_nano").on_meta()
    assert len(blocks_of(network)) == 2 * sum(network.config.depths)  # pyright: ignore
