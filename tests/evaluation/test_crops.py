"""The evaluation crops of the MLP-Mixer paper."""

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab.data.preprocess import IMAGENET_MEAN, Preprocess
from mixlab.errors import UserError
from mixlab.evaluation.crops import CROPS, with_crop

IMAGE = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
PREPROCESS = Preprocess((224, 224), interpolation="bilinear", mean=IMAGENET_MEAN)


@pytest.mark.parametrize(
    ("name", "columns_and_rows", "left_and_top"),
    [("resize-crop", (256, 256), (16, 16)), ("resmall-crop", (427, 256), (102, 16)), ("resize", (224, 224), (0, 0))],
)
def test_a_crop_resizes_and_crops_as_the_paper_describes(name, columns_and_rows, left_and_top):
    (left, top), scaled = left_and_top, Image.fromarray(IMAGE).resize(columns_and_rows, Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.array(scaled.crop((left, top, left + 224, top + 224))))
    assert with_crop(PREPROCESS, name).resized(IMAGE).permute(1, 2, 0).equal(expected)


@pytest.mark.parametrize("name", CROPS)
def test_a_crop_changes_no_other_setting(name):
    cropped = with_crop(PREPROCESS, name).to_dict()
    assert {key for key, value in PREPROCESS.to_dict().items() if cropped[key] != value} <= {"resize", "crop_fraction"}


def test_an_unknown_crop_is_an_error():
    with pytest.raises(UserError, match=r'crop "resize_crop" is unknown: .* Did you mean "resize-crop"\?'):
        with_crop(PREPROCESS, "resize_crop")
