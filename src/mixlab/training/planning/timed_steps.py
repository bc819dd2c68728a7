"""Training steps of one model under several plans, in the memory of one training."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from mixlab.data.batches import Batch
from mixlab.speed.plan import Plan, prepare_model
from mixlab.training.activation_checkpointing import build_for_steps
from mixlab.training.job import Job
from mixlab.training.objective import Objective
from mixlab.training.optimizer import build_optimizers
from mixlab.training.sam import perturbed
from mixlab.training.step import accumulate_gradients


class TimedSteps:
    """Steps on one batch. All plans have the same weights, gradients and optimiser states.

    The model of a plan is built when it is first needed, so that `time_job` catches a lack of memory.
    """

    def __init__(self, job: Job, batch: Batch, objective: Objective, models: Mapping[Plan, nn.Module] | None = None):
        """`models`, if they exist already, have the same parameters."""
        self._job, self._batch, self._objective = job, batch, objective
        self._models = dict(models or {})

    def under(self, plan: Plan) -> Callable[[], None]:
        """A step under `plan`. Call `prepare` first if another plan was the last one."""
        return partial(self._step, plan)

    def prepare(self, plan: Plan) -> None:
        """Convert the weights and the states to the memory layout of `plan`."""
        prepare_model(self._model(plan), self._job.device, plan.mode)
        for optimizer in self._optimizers:
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    is_like_parameter = isinstance(value, Tensor) and value.shape == parameter.shape
                    if is_like_parameter and value.stride() != parameter.stride():
                        state[name] = torch.empty_like(parameter).copy_(value)

    def _model(self, plan: Plan) -> nn.Module:
        if plan not in self._models:
            model = build_for_steps(self._job, self._job.device, plan)
            if self._models:
                model.load_state_dict(self._first.state_dict(keep_vars=True), assign=True)
            self._models[plan] = model
        return self._models[plan]

    @property
    def _first(self) -> nn.Module:
        return next(iter(self._models.values()))

    @cached_property
    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return build_optimizers(self._job.recipe.optimizer, self._first)

    def _step(self, plan: Plan) -> None:
        model = self._model(plan)
        self._backward(model, plan)
        if (rho := self._job.recipe.optimizer.sam_rho) is not None:
            parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
            with perturbed(parameters, list(model.buffers()), rho):
                self._backward(model, plan)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def _backward(self, model: nn.Module, plan: Plan) -> None:
        images, labels = self._batch.on(self._job.device)
        targets, counts_of = self._objective.targets(labels), self._objective.task.counts
        accumulate_gradients(model, images, targets, self._objective, counts_of, plan)
