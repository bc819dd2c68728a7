"""The page of one training, from its folder alone, in every state."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mixlab.runs.folder import Run, start_run
from mixlab.runs.journal import Journal
from mixlab.training.run_page import run_page

STEPS_AN_EPOCH = 40
Begun = Callable[..., Run]


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    """A run of 4 epochs of 40 steps that has come to step `step`, with `top1` by validation after each epoch."""

    def begin(step: int, top1: tuple[float | None, ...] = (50.0, 75.0, 70.0, 75.0), **recipe: object) -> Run:
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
                journal.write("step", step=at, **logged, images_per_second=100.0, waiting=0.25)
                if at % STEPS_AN_EPOCH == 0:
                    epoch = at // STEPS_AN_EPOCH
                    evaluated = top1[epoch - 1]
                    validation = None if evaluated is None else {"top1": evaluated, "images": 20}
                    learned = {"loss": 1 / epoch, "top1": 90.0}
                    journal.write("epoch", step=at, epoch=epoch, seconds=3.0, train=learned, validation=validation)
        return run

    return begin


def shown(run: Run) -> str:
    """Its HTML, with plain spaces."""
    return run_page(run).html().replace("\N{NO-BREAK SPACE}", " ")


def write(run: Run, kind: str, **values: object) -> None:
    with Journal(run.journal) as journal:
        journal.write(kind, **values)


def end(run: Run, **unreadable: str) -> None:
    write(run, "end", training_seconds=12.0, images=1600, peak_bytes=3 * 2**29, unreadable=unreadable)


def test_a_training_that_has_just_begun_has_a_page(begun):
    html = shown(begun(0))
    assert "The training has started: 160 steps to go." in html
    assert "The journal is still empty" in html
    assert "<figure" not in html


def test_while_it_runs_the_page_says_how_far_it_is_and_how_long_it_will_take(begun):
    # 140 steps of 10 images at 100 a second
    assert "The training is at step 20 of 160, about 14 s to go." in shown(begun(20))


def test_a_pause_of_a_suspended_machine_estimates_nothing(begun):
    run = begun(40)
    logged = {"loss": 0.1, "learning_rate": 1e-3, "gradient_norm": 2.0, "waiting": 0.25}
    write(run, "step", step=60, epoch=2, images_per_second=0.01, **logged)
    assert "at step 60 of 160, about 10 s to go." in shown(run)


def test_before_a_line_was_written_the_closed_epochs_tell_how_long_it_will_take(begun):
    run = begun(0)
    write(run, "epoch", step=16, epoch=1, seconds=4.0, train={"loss": 1.0, "top1": 50.0}, validation=None)
    assert "at step 16 of 64, about 12 s to go." in shown(run)


def test_in_the_first_epoch_the_steps_loss_is_drawn_and_no_accuracy(begun):
    html = shown(begun(20))
    assert "Training loss (nats) by epoch" in html
    assert "Top-1 (%) by epoch" not in html


def test_after_an_epoch_all_that_is_watched_is_drawn(begun):
    html = shown(begun(80))
    for drawn in ("Top-1 (%)", "Learning rate (10⁻³)", "Throughput (images/s)", "Waiting for data (% of the time)"):
        assert f'aria-label="{drawn} by epoch' in html
    assert "training 90.0, validation 75.0 at the end" in html
    assert "Gradient norm by epoch: 2.00 at the end" in html


def test_much_waiting_is_said_with_its_cure(begun):
    html = shown(begun(20))
    assert "The training waits for images 25.0 % of the time. More <code>workers</code>" in html


def test_without_a_validation_part_the_last_weights_are_the_ones_that_were_kept(begun):
    run = begun(160, top1=(None,) * 4)
    end(run)
    html = shown(run)
    assert "The training finished in 3 s. The run has the weights of the last step." in html
    assert "There was no validation split." in html
    assert "Top-1 (%) by epoch: 90.0 at the end." in html


def test_a_finished_training_says_what_the_weights_that_were_kept_had(begun):
    run = begun(160)
    end(run)
    html = shown(run)
    assert "The weights of the run classify 75.0 % of 20 validation images correctly." in html
    assert "95 %: 53.1 to 88.8, n" in html
    assert "1.50 GiB" in html


def test_the_journal_s_end_says_that_it_is_done_before_the_folder_does(begun):
    run = begun(160)
    end(run)
    assert run.state == "running"
    assert "<dt>State</dt><dd>done</dd>" in shown(run)


def test_a_stopped_training_says_how_it_goes_on(begun):
    run = begun(60)
    run.set_state("stopped")
    assert f"was stopped at step 60 of 160. Resume it with <code>mixlab train --resume {run.path}</code>" in shown(run)


def test_a_training_that_diverged_says_where(begun):
    run = begun(60)
    run.set_state("stopped")
    run.postmortem.write_text(json.dumps({"step": 61, "loss": "nan"}))
    assert "The training diverged: the loss became nan at step 61" in shown(run)


def test_resumptions_and_steps_and_images_left_out_are_told(begun):
    run = begun(40)
    assert "There were no interruptions, skipped steps or skipped images." in shown(run)
    write(run, "resumed", step=41, processes=1)
    write(run, "skipped", step=42, reason="a gradient is no number")
    end(run, **{"a.jpg": "it is truncated"})
    html = shown(run)
    assert "Resumed once, skipped steps: 1" in html
    assert "skipped: a gradient is no number" in html
    assert "a.jpg: it is truncated" in html


def test_many_incidents_leave_the_last_ones_on_the_page(begun):
    run = begun(40)
    for step in range(41, 66):
        write(run, "skipped", step=step, reason="a gradient is no number")
    html = shown(run)
    assert html.count("a gradient is no number") == 20
    assert "5 earlier lines are in journal.jsonl." in html


def test_what_runs_stands_at_the_end_with_the_whole_recipe(begun):
    html = shown(begun(20))
    assert "mixer_nano at 8 x 8 pixels" in html
    assert "shades: 2 classes, 400 train, 20 validation images" in html
    assert "bf16, channels last, 10 images at once, 2 processes" in html
    assert "epochs = 4" in html


def test_a_length_in_steps_is_kept_to(begun):
    assert "at step 20 of 50," in shown(begun(20, epochs=None, steps=50))


def test_a_head_in_closed_form_has_a_page_as_well(begun):
    run = begun(0, epochs=None)
    write(run, "epoch", step=1, epoch=1, seconds=4.0, train={"loss": 1.0, "top1": 50.0}, validation=None)
    end(run)
    html = shown(run)
    assert "The training finished in 4 s. The run has the weights of the last step" in html


@pytest.mark.long
def test_the_page_fits_a_phone(begun, opened):
    assert opened(shown(begun(160)), 390) == (390, "")
