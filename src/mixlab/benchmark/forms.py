"""Forms of execution: a peer's model in one precision and layout, as plain data, and as a function that is timed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixlab.benchmark.peers import RUNTIMES
from mixlab.benchmark.result import Task
from mixlab.benchmark.runtimes import onnxruntime_pass, openvino_pass
from mixlab.benchmark.timm_peer import timm_network
from mixlab.benchmark.training_plan import training_plan
from mixlab.models.contract import height_and_width
from mixlab.report.progress import Log
from mixlab.speed.inference import Inference
from mixlab.speed.inference_plan import InferencePlan, build_forward
from mixlab.speed.plan import (
    ComputeMode,
    Plan,
    candidates,
    prepare_for_training,
    prepare_model,
    training_candidates,
)
from mixlab.zoo import user_code
from mixlab.zoo.architecture import Architecture

Call = Callable[[], object]

_LONG_JOB = 100_000
"""Images of a job that justifies any preparation."""

_TRIAL_IMAGES = 8
"""With fewer images, no plan is selected."""


@dataclass(frozen=True)
class Form:
    """One way to execute a model. A form is plain data, so that it can be sent to another process.

    peer    "mixlab", or one of `mixlab.benchmark.peers.PEERS`
    batch   images per call
    plan    for mixlab, the plan that it selects; for the others, the stock plan in the form's precision and layout
    task    of a call: "training" is a step, "inference" a forward pass
    """

    peer: str
    architecture: Architecture
    device: str
    batch: int
    plan: Plan | InferencePlan
    task: Task

    @property
    def mode(self) -> ComputeMode:
        return self.plan.mode

    @property
    def precision(self) -> str:
        return self.mode.precision

    @property
    def layout(self) -> str:
        return self.mode.layout

    @property
    def details(self) -> str:
        """Properties of the plan in addition to precision and layout."""
        if isinstance(self.plan, InferencePlan):
            return ", ".join([self.plan.execution, *self.plan.rewrites])
        return ", ".join(self.plan.rewrites.descriptions)

    def __str__(self) -> str:
        return f"{self.peer}, {self.mode}"


def mixlab_form(architecture: Architecture, device: torch.device, batch: int, task: Task, log: Log) -> Form:
    """The form that mixlab's own plan selects."""
    select_plan = {"training": training_plan, "inference": inference_plan}[task]
    return Form("mixlab", architecture, str(device), batch, select_plan(architecture, device, batch, log), task)


def inference_plan(architecture: Architecture, device: torch.device, batch: int, log: Log) -> InferencePlan:
    """The plan of `mixlab predict` for a long job, with `batch` images per forward pass."""
    torch.manual_seed(0)
    model = architecture.build()
    if architecture.family == "mixer":
        nn.init.normal_(model.get_submodule("head").get_parameter("weight"))  # it is 0, and so would be all logits
    inference = Inference(model, device, speed="auto", log=log)
    inference.plan_for(random_images(architecture, max(batch, _TRIAL_IMAGES), device), _LONG_JOB)
    return replace(inference.plan, batch=batch)


def stock_forms(peer: str, architecture: Architecture, device: torch.device, batch: int, task: Task) -> list[Form]:
    """The forms of a peer, in each precision and layout that the device has; the peer's row is the fastest of them."""
    modes = candidates(device, "auto")
    if task == "training":
        modes = training_candidates(device, "auto", architecture.on_meta())
    if peer in RUNTIMES:  # they choose the layout themselves
        modes = [mode for mode in modes if mode.layout == "contiguous"]
    if peer == "onnxruntime":  # it has no bf16 kernels on a CPU
        modes = [mode for mode in modes if mode.precision == "fp32"]
    return [Form(peer, architecture, str(device), batch, Plan(device.type, mode, batch), task) for mode in modes]


def prepare(form: Form) -> Call:
    """Build the model of a form with random weights. Returns a function that runs one batch of random images."""
    device = torch.device(form.device)
    if form.architecture.user_file is not None:
        user_code.trust_code(form.architecture.user_file)
    torch.manual_seed(0)
    images = random_images(form.architecture, form.batch, device)
    images = images.contiguous(memory_format=form.mode.memory_format)
    return _training_step(form, images) if form.task == "training" else _forward_pass(form, images)


def random_images(architecture: Architecture, batch: int, device: torch.device) -> Tensor:
    """A batch (image, channel, row, column) of the architecture's image size."""
    size = height_and_width(architecture.image_size)
    return torch.randn(batch, architecture.config["image_channels"], *size, device=device)


def _network(form: Form) -> nn.Module:
    if form.peer != "timm":
        return form.architecture.build()
    network = timm_network(form.architecture)
    assert network is not None
    return network


def _forward_pass(form: Form, images: Tensor) -> Call:
    if form.peer == "openvino":
        assert form.mode.precision != "fp16"
        return openvino_pass(_network(form), images, form.mode.precision)
    if form.peer == "onnxruntime":
        return onnxruntime_pass(_network(form), images)
    if isinstance(form.plan, InferencePlan):
        network = prepare_model(_network(form).eval(), images.device, ComputeMode())
        mixlab_forward = torch.inference_mode()(build_forward(network, form.plan, images.shape[1:]))
        return lambda: mixlab_forward(images)
    network = prepare_model(_network(form).eval(), images.device, form.mode).to(form.mode.dtype)
    images = images.to(form.mode.dtype)
    run = torch.compile(network, dynamic=False) if form.peer == "compiled" else network

    def forward() -> None:
        with torch.inference_mode():
            run(images)

    return forward


def _training_step(form: Form, images: Tensor) -> Call:
    """Forward pass, cross-entropy, backward pass and AdamW, with the same random labels for all forms."""
    assert isinstance(form.plan, Plan)
    plan = form.plan
    labels = torch.randint(form.architecture.classes, (form.batch,), device=images.device)
    network = prepare_for_training(_network(form).train(), images.device, plan, form.batch)
    run = torch.compile(network, dynamic=False) if form.peer == "compiled" else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with plan.forward_context(images.device):
            loss = F.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
