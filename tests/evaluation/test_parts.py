"""An evaluation in parts: an interrupted one goes on, and the result is that of one part."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mixlab.data.preprocess import Preprocess
from mixlab.evaluation import evaluate as module
from mixlab.evaluation.evaluate import evaluate
from mixlab.evaluation.evaluation import ARRAYS
from mixlab.evaluation.parts import PartStore, images_per_part
from mixlab.speed.inference import Inference

CPU = torch.device("cpu")


class Counting(nn.Module):
    """Counts the images that it is given; stops with an error after `limit`."""

    def __init__(self, limit: int = 1_000):
        super().__init__()
        self.images, self.limit = 0, limit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.images >= self.limit:
            raise KeyboardInterrupt
        self.images += len(images)
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "images_per_part", lambda classes: 5)


def run(shades, model, store=None, **options):
    test = shades.splits["test"]
    return evaluate(Inference(model, CPU), test, Preprocess((8, 8)), shades.classes, batch=2, store=store, **options)


def test_parts_give_the_result_of_a_single_part(shades, monkeypatch):
    whole = run(shades, Counting(), temperature=2.0)
    monkeypatch.setattr(module, "images_per_part", lambda classes: 5)
    parts = run(shades, Counting(), temperature=2.0)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(parts.evaluation, name), getattr(whole.evaluation, name))
        np.testing.assert_array_equal(getattr(parts.scaled, name), getattr(whole.scaled, name))
    assert parts.split.names == whole.split.names


@pytest.mark.parametrize("with_logits", [False, True])
def test_an_interrupted_evaluation_does_not_evaluate_finished_parts_again(shades, small_parts, tmp_path, with_logits):
    store = PartStore(tmp_path / "parts", shades.classes, with_logits=with_logits)
    with pytest.raises(KeyboardInterrupt):
        run(shades, Counting(limit=8), store, temperature=2.0)
    model = Counting()
    resumed = run(shades, model, store, temperature=2.0)
    assert 0 < model.images < 12
    whole = run(shades, Counting(), temperature=2.0)
    np.testing.assert_array_equal(resumed.evaluation.nll, whole.evaluation.nll)
    assert resumed.scaled is not None and whole.scaled is not None
    np.testing.assert_array_equal(resumed.scaled.nll, whole.scaled.nll)
    assert resumed.split.names == whole.split.names


def test_stored_logits_are_passed_on_as_the_computed_ones(shades, small_parts, tmp_path):
    store = PartStore(tmp_path / "parts", shades.classes, with_logits=True)
    received: list[list[torch.Tensor]] = []
    for _ in range(2):
        received.append([])
        run(shades, Counting(), store, receive=lambda logits, labels: received[-1].append(logits))
    torch.testing.assert_close(torch.cat(received[0]), torch.cat(received[1]), rtol=0, atol=0)


def test_an_unreadable_image_of_a_stored_part_is_still_named(shades, small_parts, tmp_path):
    test = shades.splits["test"]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    images = [*test.images[:3], broken, *test.images[4:]]
    shades = replace(shades, splits={"test": replace(test, images=images)})
    store = PartStore(tmp_path / "parts", shades.classes, with_logits=False)
    first, again = (run(shades, Counting(), store, max_unreadable=1) for _ in range(2))
    assert list(first.unreadable) == list(again.unreadable) == [test.names[3]]
    assert len(again.evaluation) == 11 and test.names[3] not in again.split.names


def test_the_logits_of_a_part_fit_into_80_megabytes():
    assert images_per_part(1_000) == 10_000
    assert images_per_part(21_843) * 21_843 * 4 <= 80e6
    assert images_per_part(10**9) == 1
