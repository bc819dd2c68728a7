"""The plans of mixlab's own row: those of a long training and of a long prediction of the same architecture."""

import pytest
import torch

from mixlab.benchmark import forms, training_plan
from mixlab.benchmark.forms import mixlab_form, prepare
from mixlab.speed.inference_plan import InferencePlan
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import Job
from mixlab.zoo.architecture import Architecture, architecture

CPU = torch.device("cpu")


@pytest.fixture
def tiny() -> Architecture:
    return architecture("mixer_nano", depth=1, channels=8, token_hidden=8, channel_hidden=8, image_size=8, classes=3)


def quiet(message: str) -> None: ...


def test_the_plan_of_a_training_is_selected_for_the_architecture_and_the_batch(tiny, monkeypatch):
    jobs: list[Job] = []
    plan = Plan("cpu", ComputeMode("bf16", "channels_last"), 4)
    monkeypatch.setattr(training_plan, "select_plan", lambda job, log: (jobs.append(job), (plan, 1.0))[1])
    form = mixlab_form(tiny, CPU, 4, "training", quiet)
    (job,) = jobs
    assert (job.architecture, job.batch, job.recipe.speed, job.recipe.precision) == (tiny, 4, "auto", "auto")
    assert len(job.dataset.splits["train"]) == 4 and len(job.dataset.classes) == 3
    assert (form.peer, form.plan, form.task) == ("mixlab", plan, "training")
    prepare(form)()


def test_a_training_plan_can_be_selected(tiny):
    assert training_plan.training_plan(tiny, CPU, 4, quiet).micro_batch == 4


def test_the_plan_of_an_inference_is_selected_with_enough_images_and_has_the_batch_of_the_benchmark(tiny, monkeypatch):
    jobs = []

    class Inference:
        def __init__(self, model, device, *, speed, log):
            assert speed == "auto"
            assert model.head.weight.abs().sum() > 0  # else every plan would have equal logits
            self.plan = InferencePlan("eager", ComputeMode("bf16"), (), 8)

        def plan_for(self, images, number):
            jobs.append((tuple(images.shape), number))

    monkeypatch.setattr(forms, "Inference", Inference)
    form = mixlab_form(tiny, CPU, 1, "inference", quiet)
    ((shape, number),) = jobs
    assert shape == (8, 3, 8, 8) and number >= 10_000
    assert form.plan == InferencePlan("eager", ComputeMode("bf16"), (), 1)
    assert form.details == "eager"
    (logits,) = prepare(form)()  # pyright: ignore[reportGeneralTypeIssues]
    assert logits.shape == (1, 3) and logits.is_inference()
