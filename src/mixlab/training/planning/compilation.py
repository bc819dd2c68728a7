"""Times compiled training steps, if they have the results of eager ones."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mixlab.errors import in_one_line
from mixlab.measure.timing import seconds_per_call
from mixlab.report.numbers import duration
from mixlab.report.progress import Log
from mixlab.speed.equivalence import compiled_equals_eager, with_same_parameters
from mixlab.speed.plan import ComputeMode, Plan, time_steps
from mixlab.speed.rewrites.compilation import compile_steps
from mixlab.training.job import Job
from mixlab.training.planning.timings import MIN_COMPILATIONS, Compilation, compiled

MakeSteps = Callable[[Mapping[Plan, nn.Module]], Mapping[Plan, Callable[[], object]]]
"""Makes training steps of models with the same parameters, as their plans execute them."""

_SHORTEST = 10.0
"""Seconds. Steps are compiled to measure the time of the compilation only if one of this length would be worth it."""


def may_compile(job: Job, processes: int, seconds: float) -> bool:
    """Whether compiled steps are a candidate for a training that takes that many seconds in eager mode.

    They are one on a CUDA device, in a single process, without activation checkpointing. On a CPU, `torch.compile` was
    not faster (docs/log.md), and the other combinations are not tested.
    """
    return (
        job.device.type == "cuda"
        and processes == 1
        and job.recipe.activation_checkpointing == "off"
        and seconds >= MIN_COMPILATIONS * _SHORTEST
    )


def time_compilation(
    model: nn.Module,
    images: Float[Tensor, "image channel row column"],
    plan: Plan,
    make_steps: MakeSteps,
    log: Log,
    compile_model: Callable[[nn.Module, int], nn.Module] = compile_steps,
) -> Compilation:
    """Compile the steps of `plan`, compare them with eager ones on a batch, and time both.

    `log` is called with the time that the compilation takes, or with the reason why compiled steps are not used.

    model          as `plan` executes it, in training mode; it is changed
    images         a micro-batch
    compile_model  changes a model into one that is compiled for a number of images
    """
    _fill_zeros(model)
    torch.compiler.reset()  # the models of a class share the limit of compilations, after which they stay eager
    compiled_model = compile_model(with_same_parameters(model), len(images))
    try:
        seconds = _seconds_of_first_step(compiled_model, images, plan.mode)
        log(f"torch.compile took {duration(seconds)} for the training steps in {plan}.")
        if not compiled_equals_eager(compiled_model, model, images, plan.mode):
            log("torch.compile is not used: the compiled steps have other results than those in eager mode.")
            return Compilation(plan.mode, seconds)
        compiled_plan = replace(plan, rewrites=compiled(plan.rewrites))
        step_seconds = time_steps(make_steps({plan: model, compiled_plan: compiled_model}))
    except Exception as error:  # compilers do not support every model, and fail in many ways
        log(f"torch.compile is not used: {in_one_line(error)}")
        return Compilation(plan.mode)
    relative = step_seconds[compiled_plan] / step_seconds[plan]
    log(f"A compiled step takes {100 * relative:.0f} % of the time in eager mode.")
    return Compilation(plan.mode, seconds, relative)


def _fill_zeros(model: nn.Module) -> None:
    """Fill weights that are zero with random numbers. With a Mixer's initial head, all gradients would be zero."""
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)


def _seconds_of_first_step(model: nn.Module, images: Tensor, mode: ComputeMode) -> float:
    def step() -> None:
        with mode.autocast(images.device):
            logits = model(images.contiguous(memory_format=mode.memory_format))
        logits.float().sum().backward()

    seconds = seconds_per_call(step)
    model.zero_grad()
    return seconds
