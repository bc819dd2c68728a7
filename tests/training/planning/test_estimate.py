"""The estimate of a training, compared with a real training."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mixlab.data.dataset import Dataset
from mixlab.measure.machine import has_bf16_kernels
from mixlab.measure.macs import count_macs
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.job import Job
from mixlab.training.loop import train
from mixlab.training.objective import make_objective
from mixlab.training.optimizer import build_optimizers
from mixlab.training.planning.estimate import TrainingEstimate, estimate
from mixlab.training.step import accumulate_gradients

WHOLE = Plan("cpu", ComputeMode(), micro_batch=64)
BF16 = pytest.param(
    "bf16",
    marks=pytest.mark.skipif(
        not has_bf16_kernels(),
        reason="without bf16 instructions, convolutions unfold their inputs, which the estimate does not include",
    ),
)
NANO = ("image_size=32", "batch=32", "config={}")


def estimated(job: Job, plan: Plan = WHOLE, seconds_per_step: float = 1.0) -> TrainingEstimate:
    return estimate(job, plan, seconds_per_step)


def peak_of(step: Callable[[], object]) -> int:
    """The peak memory of a step in bytes, without memory that was allocated before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        step()
    events: Any = profiled.profiler.kineto_results.events()  # pyright: ignore[reportOptionalMemberAccess]
    update_every = sorted((event.start_ns(), place, event) for place, event in enumerate(events))
    return max(accumulate(event.nbytes() for _, _, event in update_every if event.name() == "[memory]"))


class TestMemory:
    @pytest.mark.parametrize("precision", ["fp32", BF16])
    @pytest.mark.parametrize("model", ["mixer_nano", "convmixer_nano", "davit_nano", "vit_nano", "resnet_nano"])
    def test_the_estimated_memory_of_a_step_is_within_15_per_cent_of_a_real_one(self, make_job, model, precision):
        job = make_job(f"model={model}", *NANO)
        mode = ComputeMode(precision)
        model, objective = job.build(), make_objective(job, job.device)
        (optimizer,) = build_optimizers(job.recipe.optimizer, model)
        batch = next(job.training_batches(quiet=True).epoch(0))

        def step() -> None:
            images, labels = batch.on(job.device)
            accumulate_gradients(
                model,
                images,
                objective.targets(labels),
                objective,
                objective.task.counts,
                Plan("cpu", mode, 32),
            )
            optimizer.step()
            optimizer.zero_grad()

        step()  # from now on the optimiser has a state
        memory = dict(estimated(job, Plan("cpu", mode, 32)).memory)
        del memory["parameters"], memory["optimiser state (adamw)"]
        assert sum(memory.values()) == pytest.approx(peak_of(step), rel=0.15)

    @pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
    def test_the_estimated_optimizer_state_is_that_of_a_real_optimizer(self, make_job, name):
        job = make_job(f"optimizer.name={name}", "config.depth=2")
        model = job.build()
        model(torch.randn(2, 3, 8, 8)).sum().backward()
        state_bytes = 0
        for optimizer in build_optimizers(job.recipe.optimizer, model):
            optimizer.step()
            state = [value for of_one in optimizer.state.values() for value in of_one.values()]
            state_bytes += sum(tensor.nbytes for tensor in state if isinstance(tensor, Tensor) and tensor.dim())
        assert estimated(job).memory[f"optimiser state ({name})"] == state_bytes > 0

    @pytest.mark.parametrize(
        ("setting", "what"),
        [
            ("ema.decay=0.9", "EMA of the weights"),
            ("optimizer.sam_rho=0.1", "copy of the parameters for SAM"),
        ],
    )
    def test_copies_of_the_weights_have_the_size_of_the_parameters(self, make_job, setting, what):
        memory = estimated(make_job(setting)).memory
        assert memory[what] == memory["parameters"]
        assert what not in estimated(make_job()).memory

    def test_the_memory_includes_the_teacher(self, make_job, tmp_path):
        teacher = train(make_job("steps=1", "schedule.final_factor=1"), WHOLE, tmp_path / "run", quiet=True).path
        memory = estimated(make_job(f"distillation.teacher={teacher}", "config.depth=2")).memory
        assert memory["teacher"] == estimated(make_job()).memory["parameters"] < memory["parameters"]

    def test_smaller_micro_batches_need_less_memory(self, make_job):
        def bytes_between_steps(plan: Plan) -> int:
            return estimated(make_job(), plan).memory["activations for the backward pass"]

        assert bytes_between_steps(replace(WHOLE, micro_batch=3)) < 0.4 * bytes_between_steps(WHOLE)  # 3, 3 and 2 of 8

    def test_ddp_needs_gradient_buckets_and_fsdp_needs_smaller_tensors(self, make_job):
        def held(parallel: str, processes: int) -> dict[str, int]:
            return dict(estimated(make_job(f"parallel={parallel}"), replace(WHOLE, processes=processes)).memory)

        alone, copies, shards = held("ddp", 1), held("ddp", 2), held("fsdp", 2)
        assert copies["gradients"] == alone["gradients"] == copies["gradient buckets of DDP"]
        assert copies["images"] == alone["images"] / 2
        for what in ("parameters", "gradients", "optimiser state (adamw)"):
            assert shards[what] == alone[what] // 2
        assert copies.keys() - shards.keys() == {"gradient buckets of DDP"}


class TestLength:
    @pytest.mark.parametrize(
        "settings", [["batch=8"], ["batch=13"], ["batch=12", "steps=7"], ["batch=12", "epochs=2"]], ids=" ".join
    )
    def test_steps_and_images_are_those_of_the_training_loop(self, make_job, settings):
        job = make_job(*settings)
        batches = job.training_batches(quiet=True)
        epochs = -(-job.steps(len(batches)) // len(batches))
        sizes = [len(batch.indices) for epoch in range(epochs) for batch in batches.epoch(epoch)]
        found = estimated(job)
        assert found.steps == job.steps(len(batches))
        assert found.images == sum(sizes[: found.steps])

    def test_the_learning_rate_curve_covers_all_steps(self, make_job):
        epochs, rates = estimated(make_job("schedule.warmup=0.5")).lr_curve
        assert (len(rates), epochs[0], epochs[-1]) == (6, 1 / 5, 6 / 5)
        assert (max(rates), rates[-1]) == (0.01, 0)

    def test_the_learning_rate_curve_of_a_long_training_is_subsampled(self, make_job):
        epochs, rates = estimated(make_job("steps=100000")).lr_curve
        assert len(rates) == 480
        assert epochs[-1] == 100_000 / 5


class TestCost:
    def test_a_training_image_costs_three_forward_passes(self, make_job):
        job = make_job()
        assert estimated(job).training_macs == 3 * count_macs(job.build(), (3, 8, 8)) * 48

    def test_sam_doubles_the_cost(self, make_job):
        twice = estimated(make_job("optimizer.sam_rho=0.1")).training_macs
        assert twice == 2 * estimated(make_job()).training_macs


class TestTime:
    """Six steps of one second on 48 images, and two evaluations of 12 images."""

    def time(self, job: Job, *, processes: int = 1, read: float = 0.0, augmented: float = 0.0):
        found = estimated(job, replace(WHOLE, processes=processes))
        return replace(found, image_seconds=(read, augmented)).time

    def test_the_time_is_that_of_all_steps_and_a_third_of_a_step_for_evaluation(self, make_job):
        time = self.time(make_job())
        assert (time.steps, time.reading) == (6, 0)
        assert time.validating == pytest.approx(2 * 12 / 8 / 3)
        assert time.total == time.steps + time.validating

    def test_a_step_with_sam_has_six_forward_passes_and_an_evaluation_one(self, make_job):
        time = self.time(make_job("optimizer.sam_rho=0.1"))
        assert (time.steps, time.validating) == (6, pytest.approx(2 * 12 / 8 / 6))

    def test_rare_validation_costs_less(self, make_job):
        time = self.time(make_job("steps=30", "validate_every=2.5"))  # 6 epochs: after epochs 3, 5 and 6
        assert time.validating == pytest.approx(3 * 12 / 8 / 3)

    def test_preloaded_images_are_read_once_and_augmented_in_each_epoch(self, make_job):
        assert self.time(make_job(), read=1, augmented=0.5).reading == 40 + 12 + 48 / 2

    def test_images_that_do_not_fit_into_memory_are_read_in_each_epoch(self, make_job, monkeypatch):
        monkeypatch.setattr("mixlab.training.planning.estimate.PRELOAD_BYTES", 1000)
        assert self.time(make_job(), read=1, augmented=0.5).reading == 48 * 1.5

    @pytest.mark.parametrize(("augmented", "waiting"), [(0.1, 0), (1.0, 48 / 2 - 6)])
    def test_workers_read_images_during_the_steps(self, make_job, augmented, waiting):
        assert self.time(make_job("workers=2"), augmented=augmented).reading == waiting

    def test_processes_share_the_reading_and_the_evaluation(self, make_job):
        alone, two = self.time(make_job(), augmented=0.5), self.time(make_job(), augmented=0.5, processes=2)
        assert two.reading == alone.reading / 2
        assert two.validating == alone.validating  # half of the images, and half of a step

    def test_reading_is_timed_on_real_images(self, make_job):
        assert all(0 < seconds < inf for seconds in estimated(make_job()).image_seconds)


class TestShares:
    def test_a_batch_is_split_between_processes_and_then_into_micro_batches(self, make_job):
        found = estimated(make_job(), Plan("cpu", ComputeMode(), micro_batch=2, processes=3))
        assert (found.images_per_process, found.largest_micro_batch) == ([3, 3, 2], 2)

    @pytest.mark.parametrize(
        ("model", "has"),
        [("mixer_nano", False), ("convmixer_nano", True), ("davit_nano", False), ("resnet_nano", True)],
    )
    def test_models_with_batch_norm_are_recognised(self, make_job, model, has):
        assert estimated(make_job(f"model={model}", *NANO)).has_batch_norm is has


def test_nothing_is_written(make_job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    estimated(make_job())
    assert list(tmp_path.iterdir()) == []


def test_without_validation_there_is_no_evaluation_time(make_job, shades):
    splits = {"train": shades.splits["train"]}
    assert estimated(make_job(dataset=Dataset("shades", shades.classes, splits))).time.validating == 0
