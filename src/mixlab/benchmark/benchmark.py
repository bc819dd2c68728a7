"""Measures a model beside peers: the fastest form of each is selected, then the selected forms take turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mixlab.benchmark.exported import ExportedForm, prepare_exported
from mixlab.benchmark.forms import Call, Form, mixlab_form, prepare, stock_forms
from mixlab.benchmark.peers import RUNTIMES
from mixlab.benchmark.result import ModelBenchmark, Row, Task
from mixlab.benchmark.timm_peer import timm_network
from mixlab.errors import UserError, in_one_line
from mixlab.measure.machine import device_name
from mixlab.measure.memory import peak_bytes
from mixlab.measure.peak import matrix_product_peak
from mixlab.measure.timing import interleaved
from mixlab.report.progress import Log
from mixlab.report.text import pluralize
from mixlab.speed.allocator import release_freed_memory, retain_freed_memory
from mixlab.speed.plan import DTYPES, Plan, time_steps
from mixlab.training.planning.memory import is_out_of_memory, unless_out_of_memory
from mixlab.training.processes import process_pool
from mixlab.zoo.architecture import Architecture

WARMUP = 2
"""Untimed calls of each selected form."""

MIN_ROUNDS = 6
"""With fewer values, the median has no 95 % interval."""

_PEAKS = {"cpu": ("fp32", "bf16")}
"""Precisions whose peak is measured, for devices that have slow matrix products in others."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    against  names of peers, see `mixlab.benchmark.peers`
    task     "inference" or "training"
    batch    images per call
    rounds   timed calls of each form

    Raises UserError for numbers out of range.
    """

    against: Sequence[str]
    task: Task = "inference"
    batch: int = 8
    rounds: int = 20

    def __post_init__(self) -> None:
        if self.batch < (least := 2 if self.task == "training" else 1):
            raise UserError(f"--batch {self.batch} is too small: give at least {least}.")
        if self.rounds < MIN_ROUNDS:
            raise UserError(f"--rounds {self.rounds} is too small: an interval needs at least {MIN_ROUNDS} rounds.")


def benchmark(
    architecture: Architecture,
    settings: Settings,
    device: torch.device,
    log: Log,
    exported: Sequence[ExportedForm] = (),
) -> ModelBenchmark:
    """Measure `architecture` with random weights, and exported models of it. `log` is called with the progress.

    Freed memory is retained by this process for all forms, see `mixlab.speed.allocator`. Their memory is
    measured in other processes, see `peak_memory`.
    """
    retain_freed_memory()
    torch.compiler.reset()  # compiled code of other models counts towards dynamo's limit
    notes: list[str] = []
    log(f"{architecture.name}: mixlab's plan is selected.")
    selected: dict[Form | ExportedForm, Call] = {**_ours(architecture, device, settings, log)}
    for peer in settings.against:
        if peer in RUNTIMES and device.type != "cpu":
            notes.append(f"{peer} is measured on a CPU only.")
            continue
        if peer == "timm" and timm_network(architecture) is None:
            notes.append(f"timm has no model with the architecture of {architecture.name}.")
            continue
        log(f"{architecture.name}: the fastest mode of {peer} is selected.")
        selected |= _fastest(stock_forms(peer, architecture, device, settings.batch, settings.task), notes)
        release_freed_memory()  # of its other modes
    for form in exported:
        if device.type == "cpu":
            selected[form] = prepare_exported(form)
        else:
            notes.append(f"{form.peer} is measured on a CPU only: give --device cpu.")
    costs = architecture.parameters, architecture.macs
    return _measured(architecture.name, selected, costs, settings, device, notes, log)


def benchmark_exported(form: ExportedForm, settings: Settings, log: Log) -> ModelBenchmark:
    """Measure an exported model alone."""
    note = (
        "Peers need the architecture: give the run or the weights that the model was exported from as another MODEL, "
        "and its table has the exported model, too."
    )
    costs = form.parameters, form.macs
    cpu = torch.device("cpu")
    return _measured(form.source, {form: prepare_exported(form)}, costs, settings, cpu, [note], log)


def _measured(
    model: str,
    selected: dict[Form | ExportedForm, Call],
    costs: tuple[int, int],
    settings: Settings,
    device: torch.device,
    notes: list[str],
    log: Log,
) -> ModelBenchmark:
    """Times the selected forms in turns, then measures their memory. `costs` are the parameters and the MACs."""
    log(
        f"{model}: {pluralize(len(selected), 'form')} {'take turns' if len(selected) > 1 else 'runs'} for "
        f"{settings.rounds} rounds."
    )
    names = {form.peer: form for form in selected}
    seconds = interleaved(
        {peer: selected[form] for peer, form in names.items()}, settings.rounds, WARMUP, sample_seconds=0.0
    )
    selected.clear()
    release_freed_memory()
    peaks = {peer: peak_memory(form) for peer, form in names.items()}
    if None in peaks.values():
        notes.append("Without memory: there was not enough for the process that measures it.")
    precisions = dict.fromkeys(form.precision for form in names.values())
    return ModelBenchmark(
        model=model,
        device=device_name(device),
        device_type=device.type,
        task=settings.task,
        batch=settings.batch,
        threads=torch.get_num_threads(),
        warmup=WARMUP,
        parameters=costs[0],
        macs=costs[1],
        peaks={
            precision: matrix_product_peak(device, DTYPES[precision])
            for precision in precisions
            if precision in _PEAKS.get(device.type, precisions)
        },
        rows=[
            Row(peer, form.precision, form.layout, form.details, seconds[peer], peaks[peer])
            for peer, form in names.items()
        ],
        notes=notes,
    )


def peak_memory(form: Form | ExportedForm) -> int | None:
    """Peak bytes of a new process that prepares the form and runs it three times; None if memory runs out.

    On a CUDA device, they are those of the tensors alone, on a CPU also those of the libraries, and of conversion and
    compilation. The process retains freed memory only if a training under the plan of the form does.
    """

    def measure() -> int:
        with process_pool(1) as pool:
            return pool.submit(_run_and_measure, form, torch.get_num_threads()).result()

    return unless_out_of_memory(measure)


def _run_and_measure(form: Form | ExportedForm, threads: int) -> int:
    torch.set_num_threads(threads)
    if isinstance(form, Form) and isinstance(form.plan, Plan) and form.plan.freed_memory == "retained":
        retain_freed_memory()
    call = prepare(form) if isinstance(form, Form) else prepare_exported(form)
    for _ in range(3):
        call()
    return peak_bytes(torch.device(form.device))


def _ours(architecture: Architecture, device: torch.device, settings: Settings, log: Log) -> dict[Form, Call]:
    """The form that mixlab selects, which has run once. Raises UserError if a batch does not fit into memory."""
    try:
        form = mixlab_form(architecture, device, settings.batch, settings.task, log)
        call = prepare(form)
        call()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"--batch {settings.batch} does not fit into this machine's memory with {architecture.name}: give a "
            "smaller one."
        ) from error
    return {form: call}


def _fastest(forms: Sequence[Form], notes: list[str]) -> dict[Form, Call]:
    """The fastest of the forms of a peer, which has run; empty, with notes, if none runs on this machine."""
    calls = _prepared(forms, notes)
    if not calls:
        return {}
    seconds = time_steps(calls)
    fastest = min(seconds, key=seconds.__getitem__)
    return {fastest: calls[fastest]}


def _prepared(forms: Sequence[Form], notes: list[str]) -> Mapping[Form, Call]:
    """The forms that run on this machine; a note for each that a library of a peer can't run."""
    calls: dict[Form, Call] = {}
    for form in forms:
        try:
            call = prepare(form)
            call()
        except UserError:
            raise
        except Exception as error:  # the libraries have their own classes of errors
            notes.append(f"{form} is left out: {in_one_line(error)}")
        else:
            calls[form] = call
    return calls
