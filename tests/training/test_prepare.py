"""All that is decided before step 0: the resolved recipe, the config, the plan."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch

from mixlab.data.dataset import Part
from mixlab.data.image_file import UnreadablePicture
from mixlab.errors import UserError
from mixlab.measure import timing
from mixlab.models.mixer import Mixer
from mixlab.runs.folder import FORMAT
from mixlab.speed.plan import Mode, Plan
from mixlab.training import prepare
from mixlab.training.prepare import decide_plan
from mixlab.training.recipe import recipe_from
from mixlab.zoo.adapt import Weights

CPU = torch.device("cpu")


def test_the_config_has_every_field_of_the_model_s(make_job):
    job = make_job()
    assert job.config == asdict(job.build().config)
    assert (job.config["classes"], job.config["channels"], job.config["image_size"]) == (2, 8, 8)


def test_a_resolved_recipe_leaves_nothing_to_the_model_or_the_data(make_job, tiny_recipe):
    del tiny_recipe["image_size"]
    recipe = make_job("batch=auto").recipe
    assert (recipe.image_size, recipe.batch, recipe.data) == (32, 4, "shades")


def test_a_resolved_recipe_resolves_to_itself(make_job, shades):
    job = make_job("batch=auto")
    assert prepare.resolve(recipe_from(job.recipe.to_dict(), "again"), shades, CPU) == job


@pytest.mark.parametrize(
    ("pictures", "batch"),
    [(2, 2), (15, 2), (16, 2), (31, 2), (32, 4), (1157, 128), (1023, 64), (1024, 128), (10**5, 128)],
)
def test_an_automatic_batch_is_the_largest_power_of_two_up_to_128_with_eight_steps_an_epoch(
    make_job, shades, pictures, batch
):
    train = shades.parts["train"].subset(np.arange(pictures) % 40)
    job = make_job("batch=auto", dataset=replace(shades, parts=shades.parts | {"train": train}))
    assert job.batch == batch


def test_a_batch_is_never_larger_than_the_pictures_there_are(make_job):
    assert make_job("batch=64").batch == 40


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("config.classes=5", "config.classes=5 does not fit shades, which has 2 classes: leave it out."),
        (
            "config.image_channels=1",
            "config.image_channels=1 does not fit shades, which has 3 image channels: leave it",
        ),
        ("config.in_chans=1", "config.image_channels=1 does not fit shades, which has 3 image channels: leave it out."),
    ],
)
def test_what_the_data_decide_is_no_setting(make_job, setting, sentence):
    with pytest.raises(UserError) as refused:
        make_job(setting)
    assert str(refused.value).startswith(sentence)


def test_epochs_are_counted_in_steps_and_steps_are_taken_as_they_are(make_job):
    assert make_job("epochs=3").steps(5) == 15
    assert make_job("steps=7").steps(5) == 7


def test_the_card_has_all_that_prediction_needs(make_job):
    job = make_job()
    assert job.card() == {
        "format": FORMAT,
        "model": "mixer_nano",
        "family": "mixer",
        "config": job.config,
        "classes": ["dark", "light"],
        "preprocess": job.preprocess.to_dict(),
    }


@pytest.fixture
def quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which every step takes equally long, so that no machine's speed decides a test."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Mode]:
    """The modes that a trial builds a model for."""
    modes = []
    placed = prepare.placed
    monkeypatch.setattr(
        prepare, "placed", lambda model, device, mode: modes.append(mode) or placed(model, device, mode)
    )
    return modes


def silent(sentence: str) -> None:
    raise AssertionError(f"nothing was to be said: {sentence}")


def test_speed_off_tries_the_stock_mode_alone(make_job, tried):
    plan, _ = decide_plan(make_job("speed=off"), silent)
    assert tried == [Mode()]
    assert (plan.device, plan.mode, plan.micro_batch) == ("cpu", Mode(), 8)


def test_speed_off_keeps_a_precision_that_was_asked_for(make_job, tried):
    decide_plan(make_job("speed=off", "precision=bf16"), silent)
    assert tried == [Mode("bf16")]


@pytest.mark.usefixtures("quick_clock")
def test_speed_auto_tries_every_mode_and_stays_with_the_stock_one_without_a_gain(make_job, tried):
    plan, seconds = decide_plan(make_job("speed=auto"), silent)
    assert len(set(tried)) == len(tried) == 4
    assert (plan.mode, seconds) == (Mode(), 1.0)


def test_a_batch_goes_through_in_as_many_parts_as_it_is_to_be_accumulated_from(make_job):
    plan, _ = decide_plan(make_job("accumulate=3"), silent)
    assert plan.micro_batch == 3


def test_a_trial_reads_the_pictures_of_one_step_alone(make_job, shades, monkeypatch):
    read = []
    image = Part.image
    monkeypatch.setattr(Part, "image", lambda part, index: read.append(part.names[index]) or image(part, index))
    decide_plan(make_job(), silent)
    assert len(read) == 8


def memory_for(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mixer that can be asked about so many pictures at once; for more the allocator itself refuses."""
    forward = Mixer.forward

    def limited(model: Mixer, images: torch.Tensor) -> torch.Tensor:
        if len(images) > pictures:
            torch.empty(2**50)
        return forward(model, images)

    monkeypatch.setattr(Mixer, "forward", limited)


def test_a_batch_that_does_not_fit_into_memory_goes_through_in_halves_and_says_so(make_job, monkeypatch):
    memory_for(2, monkeypatch)
    said = []
    plan, _ = decide_plan(make_job(), said.append)
    assert plan.micro_batch == 2
    assert said == [
        f"8 pictures at once do not fit into memory: they go through in parts of {part}." for part in (4, 2)
    ]


def test_an_odd_batch_is_halved_down_to_one_picture(make_job, monkeypatch):
    memory_for(1, monkeypatch)
    said = []
    plan, _ = decide_plan(make_job("batch=7"), said.append)
    parts = [int(sentence.rstrip(".").rpartition(" ")[2]) for sentence in said]
    assert (plan.micro_batch, parts) == (1, [4, 2, 1])


def test_a_model_too_large_for_one_picture_is_refused_with_what_may_help(make_job, monkeypatch):
    memory_for(0, monkeypatch)
    with pytest.raises(
        UserError, match=r"^mixer_nano at 8 pixels does not fit .* one picture at a time: take a smaller"
    ):
        decide_plan(make_job(), lambda sentence: None)


def failing_once(error: Exception, function: Callable[..., Any]) -> Callable[..., Any]:
    errors = [error]

    def call(*arguments: Any, **settings: Any) -> Any:
        if errors:
            raise errors.pop()
        return function(*arguments, **settings)

    return call


def test_python_s_own_memory_error_counts_as_well(make_job, monkeypatch):
    monkeypatch.setattr(prepare, "add_gradients", failing_once(MemoryError(), prepare.add_gradients))
    plan, _ = decide_plan(make_job(), lambda sentence: None)
    assert plan.micro_batch == 4


def test_another_error_of_a_step_keeps_its_traceback(make_job, monkeypatch):
    monkeypatch.setattr(prepare, "add_gradients", failing_once(RuntimeError("shapes"), prepare.add_gradients))
    with pytest.raises(RuntimeError, match=r"^shapes$"):
        decide_plan(make_job(), silent)


def test_an_unreadable_picture_is_the_error_of_the_trial(make_job, shades, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    train = shades.parts["train"]
    broken = replace(train, pictures=[tmp_path / "cut.jpg", *train.pictures[1:]])
    with pytest.raises(UnreadablePicture, match=r"cut\.jpg can't be read"):
        decide_plan(make_job(dataset=replace(shades, parts=shades.parts | {"train": broken})), silent)


@pytest.fixture
def given(make_job) -> Weights:
    """The weights of the tiny model, drawn once."""
    job = make_job()
    return Weights(job.family, job.config, job.build().state_dict())


def test_a_job_with_weights_builds_a_model_of_its_own_with_them(make_job, given):
    model = replace(make_job(), weights=given).build()
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given.tensors[name])
    before = given.tensors["head.bias"].clone()
    torch.nn.init.ones_(model.get_parameter("head.bias"))
    assert torch.equal(given.tensors["head.bias"], before)


def test_the_weights_that_a_training_starts_from_decide_where_the_store_keeps_it(make_job, given):
    job, plan = make_job(), Plan("cpu", Mode(), 8)
    other = replace(given, tensors={name: tensor + 1 for name, tensor in given.tensors.items()})
    folders = {replace(job, weights=weights).folder(plan) for weights in (None, given, given.copied(), other)}
    assert len(folders) == 3
