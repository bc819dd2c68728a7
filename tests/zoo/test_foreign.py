"""The goldens were written and run by the authors' own code: their weights have to give their logits here."""

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.zoo.build import build
from mixlab.zoo.foreign import load_foreign, renamed

GOLDEN = Path(__file__).parents[1] / "golden"
GOLDENS = {
    "google_mixer_tiny.npz": (
        "google_npz",
        "mixer",
        {"image_size": 32, "classes": 7, "patch_size": 8, "channels": 32}
        | {"token_hidden": 16, "channel_hidden": 64, "depth": 2},
    ),
    "locuslab_convmixer_tiny.pth.tar": (
        "locuslab_convmixer",
        "convmixer",
        {"image_size": 32, "classes": 6, "patch_size": 4, "kernel_size": 5, "channels": 24, "depth": 3},
    ),
    "msft_davit_tiny.pth.tar": (
        "microsoft_davit",
        "davit",
        {"image_size": 64, "classes": 6, "channels": (16, 32, 64, 128), "depths": (1, 1, 2, 1)}
        | {"heads": (1, 2, 4, 8), "window": 4},
    ),
}


def images_and_logits(file: str) -> tuple[Tensor, Tensor]:
    with np.load(GOLDEN / f"{file.partition('.')[0]}.io.npz") as golden:
        images = golden["images_nchw"] if "images_nchw" in golden else golden["images_nhwc"].transpose(0, 3, 1, 2)
        return torch.from_numpy(images.copy()), torch.from_numpy(golden["logits"])


@pytest.mark.parametrize("file", GOLDENS)
def test_the_authors_weights_give_the_authors_logits(file: str) -> None:
    format, family, config = GOLDENS[file]
    model = build(family, config).eval()
    load_foreign(model, GOLDEN / file, format)
    images, logits = images_and_logits(file)
    with torch.no_grad():
        difference = (model(images) - logits).abs().max() / logits.abs().max()
    assert difference < 1e-5


def test_a_file_that_does_not_fit_is_refused_with_both_sides() -> None:
    format, family, config = GOLDENS["google_mixer_tiny.npz"]
    deeper = build(family, config | {"depth": 3, "classes": 8})
    with pytest.raises(
        UserError, match=r"only in the model: body\.2\..*of other shapes.*head\.weight \(7, 32\), \(8, 32\)"
    ):
        load_foreign(deeper, GOLDEN / "google_mixer_tiny.npz", format)


def test_a_file_that_does_not_fit_changes_nothing() -> None:
    format, family, config = GOLDENS["google_mixer_tiny.npz"]
    model = build(family, config | {"classes": 8})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError):
        load_foreign(model, GOLDEN / "google_mixer_tiny.npz", format)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": nn.Linear(1, 1)}, tmp_path / "model.pth")
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        load_foreign(nn.Linear(1, 1), tmp_path / "model.pth", "microsoft_davit")


def test_numbers_in_a_name_may_be_shifted_and_added() -> None:
    assert renamed("4.3.x", [("{place}.3.", "body.{place-3}.")]) == "body.1.x"
    assert renamed("a.2.1.x", [("a.{pair}.{kind}.", "b.{pair+pair+kind}.")]) == "b.5.x"
