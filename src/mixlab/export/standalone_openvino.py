"""The part of predict.py that runs a model in OpenVINO."""

import numpy as np
from PIL import Image


def open_model(folder, card, threads=0):
    """A function from a decoded image to the probability of each class. The graph normalises a resized image."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": card["inference_precision"], "INFERENCE_NUM_THREADS": threads}  # 0: all
    model = openvino.compile_model(folder / "model.xml", "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})
    return lambda image: model(resize(image, **card["preprocess"])[None])["probabilities"][0]


def resize(image, image_size, resize, crop_fraction, interpolation, **_):
    """An image at the size of the model: resized with antialiasing, and cropped at its centre."""
    size, sides = np.array(image_size), np.array(image.shape[:2])
    scales = size / (1 if resize == "stretch" else crop_fraction) / sides
    scaled = np.maximum(np.round(sides * (scales.max() if resize == "shorter_side" else scales)), size).astype(int)
    top, left = np.round((scaled - size) / 2).astype(int)
    resized = Image.fromarray(image).resize(scaled[::-1].tolist(), Image.Resampling[interpolation.upper()])
    return np.ascontiguousarray(np.asarray(resized)[top : top + size[0], left : left + size[1]])
