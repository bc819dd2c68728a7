"""The part of predict.py that runs a model in ONNX Runtime."""

import numpy as np


def open_model(folder, card, threads=0):
    """A function from a decoded image to the probability of each class. The graph resizes and normalises the image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3  # 0 threads: all; no warnings
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda image: np.asarray(session.run(["probabilities"], {"images": image[None]})[0])[0]
