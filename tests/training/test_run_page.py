"""The report page of one training, made from the files of its folder, in every state."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mixlab.runs.folder import Run, start_run
from mixlab.runs.journal import Journal
from mixlab.training.run_page import run_page

STEPS_PER_EPOCH = 40
StartedRun = Callable[..., Run]


@pytest.fixture
def started_run(tmp_path: Path) -> StartedRun:
    """A function that writes a run of 4 epochs of 40 steps up to `step`, with the validation accuracies `top1`."""

    def start(step: int, top1: tuple[float | None, ...] = (50.0, 75.0, 70.0, 75.0), **recipe: object) -> Run:
        fields = {"model": "mixer_nano", "data": "shades", "image_size": 8, "batch": 10, "epochs": 4} | recipe
        fields = {key: value for key, value in fields.items() if value is not None}
        plan = {"micro_batch": 10, "precision": "bf16", "layout": "channels_last", "processes": 2}
        environment = {
            "device": "a device",
            "threads": 2,
            "memory_bytes": 8 * 2**30,
            "system": "a system",
            "versions": {"mixlab": "0.1.0"},
            "commit": None,
        }
        data = {"classes": ["dark", "light"], "images": {"train": 400, "validation": 20}}
        run = start_run(tmp_path / "run", fields, plan, environment, data, None)
        with Journal(run.journal) as journal:
            for at in range(20, step + 1, 20):
                logged = {"loss": 1 / at, "learning_rate": 1e-3, "gradient_norm": math.nan if at == 40 else 2.0}
                journal.write("step", step=at, **logged, images_per_second=100.0, data_time=0.25)
                if at % STEPS_PER_EPOCH == 0:
                    epoch = at // STEPS_PER_EPOCH
                    evaluated = top1[epoch - 1]
                    validation = None if evaluated is None else {"top1": evaluated, "images": 20}
                    learned = {"loss": 1 / epoch, "top1": 90.0}
                    journal.write("epoch", step=at, epoch=epoch, seconds=3.0, train=learned, validation=validation)
        return run

    return start


def html_of(run: Run) -> str:
    """The HTML of the page, with plain spaces."""
    return run_page(run).html().replace("\N{NO-BREAK SPACE}", " ")


def write(run: Run, kind: str, **values: object) -> None:
    with Journal(run.journal) as journal:
        journal.write(kind, **values)


def end(run: Run, **unreadable: str) -> None:
    write(run, "end", training_seconds=12.0, images=1600, peak_bytes=3 * 2**29, unreadable=unreadable)


def test_a_training_that_has_just_started_has_a_page(started_run):
    html = html_of(started_run(0))
    assert "The training has started: 160 steps to go." in html
    assert "The journal is still empty: a line is written every 20 steps." in html
    assert "Throughput and gradient norm are logged every 20 steps; no line has been logged." in html
    assert "<figure" not in html


def test_the_page_of_a_running_training_shows_the_current_step_and_the_remaining_time(started_run):
    # 140 steps of 10 images at 100 images per second
    assert "The training is at step 20 of 160, about 14 s to go." in html_of(started_run(20))


def test_one_slow_interval_does_not_change_the_estimated_remaining_time(started_run):
    run = started_run(40)
    logged = {"loss": 0.1, "learning_rate": 1e-3, "gradient_norm": 2.0, "data_time": 0.25}
    write(run, "step", step=60, epoch=2, images_per_second=0.01, **logged)
    assert "at step 60 of 160, about 10 s to go." in html_of(run)


def test_without_logged_steps_the_remaining_time_is_estimated_from_complete_epochs(started_run):
    run = started_run(0)
    write(run, "epoch", step=16, epoch=1, seconds=4.0, train={"loss": 1.0, "top1": 50.0}, validation=None)
    assert "at step 16 of 64, about 12 s to go." in html_of(run)


def test_the_first_epoch_has_a_loss_curve_of_steps_and_no_accuracy_curve(started_run):
    html = html_of(started_run(20))
    assert "Training loss (nats) by epoch" in html
    assert "Top-1 (%) by epoch" not in html


def test_after_an_epoch_the_page_has_all_curves(started_run):
    html = html_of(started_run(80))
    for panel in ("Top-1 (%)", "Learning rate (10⁻³)", "Throughput (images/s)", "Waiting for data (% of the time)"):
        assert f'aria-label="{panel} by epoch' in html
    assert "training 90.0, validation 75.0 at the end" in html
    assert "Gradient norm by epoch: 2.00 at the end" in html


def test_a_long_waiting_time_is_reported_with_a_way_to_reduce_it(started_run):
    html = html_of(started_run(20))
    assert (
        "The training waits for images 25.0 % of the time. More <code>workers</code> or smaller image files would make "
        "it faster."
    ) in html


def test_a_run_without_a_validation_split_has_the_weights_of_the_last_step(started_run):
    run = started_run(160, top1=(None,) * 4)
    end(run)
    html = html_of(run)
    assert "The training finished in 3 s. The run has the weights of the last step." in html
    assert "There was no validation split." in html
    assert "Top-1 (%) by epoch: 90.0 at the end." in html


def test_the_page_of_a_finished_training_shows_the_validation_accuracy_of_the_weights(started_run):
    run = started_run(160)
    end(run)
    html = html_of(run)
    assert "The weights of the run classify 75.0 % of 20 validation images correctly." in html
    assert "95 %: 53.1 to 88.8, n" in html
    assert "1.50 GiB" in html


def test_a_run_whose_journal_has_an_end_line_is_shown_as_done(started_run):
    run = started_run(160)
    end(run)
    assert run.state == "running"
    assert "<dt>State</dt><dd>done</dd>" in html_of(run)


def test_the_page_of_a_stopped_training_has_the_command_that_resumes_it(started_run):
    run = started_run(60)
    run.set_state("stopped")
    assert (
        f"The training was stopped at step 60 of 160. Resume it with <code>mixlab train --resume {run.path}</code>."
    ) in html_of(run)


def test_the_page_of_a_diverged_training_shows_the_step(started_run):
    run = started_run(60)
    run.set_state("stopped")
    run.postmortem.write_text(json.dumps({"step": 61, "loss": "nan"}))
    assert "The training diverged: the loss became nan at step 61." in html_of(run)


def test_interruptions_and_skipped_steps_and_images_are_listed(started_run):
    run = started_run(40)
    assert "There were no interruptions, skipped steps or skipped images." in html_of(run)
    write(run, "resumed", step=41, processes=1)
    write(run, "skipped", step=42, reason="a gradient is not finite")
    end(run, **{"a.jpg": "it is truncated"})
    html = html_of(run)
    assert "Resumed once, skipped steps: 1" in html
    assert "skipped: a gradient is not finite" in html
    assert "a.jpg: it is truncated" in html


def test_only_the_last_20_incidents_are_listed(started_run):
    run = started_run(40)
    for step in range(41, 66):
        write(run, "skipped", step=step, reason="a gradient is not finite")
    html = html_of(run)
    assert html.count("a gradient is not finite") == 20
    assert "5 earlier lines are in journal.jsonl." in html


def test_the_run_details_have_model_data_plan_and_recipe(started_run):
    html = html_of(started_run(20))
    assert "mixer_nano at 8 x 8 pixels" in html
    assert "shades: 2 classes, 400 train, 20 validation images" in html
    assert "bf16, channels last, 10 images at once, 2 processes" in html
    assert "epochs = 4" in html


def test_a_recipe_may_give_the_number_of_steps_instead_of_epochs(started_run):
    assert "at step 20 of 50," in html_of(started_run(20, epochs=None, steps=50))


def test_a_linear_probe_has_a_page(started_run):
    run = started_run(0, epochs=None)
    write(run, "epoch", step=1, epoch=1, seconds=4.0, train={"loss": 1.0, "top1": 50.0}, validation=None)
    end(run)
    html = html_of(run)
    assert "The training finished in 4 s. The run has the weights of the last step." in html


@pytest.mark.long
def test_the_page_fits_the_width_of_a_phone(started_run, opened):
    assert opened(html_of(started_run(160)), 390) == (390, "")
