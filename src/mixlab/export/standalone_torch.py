"""The part of predict.py that runs a model in PyTorch."""


def open_model(folder, card, threads=0):
    """A function from a decoded image to the probability of each class. The model resizes and normalises the image."""
    import warnings

    import torch

    torch.set_num_threads(threads or torch.get_num_threads())
    with warnings.catch_warnings(action="ignore"):  # PyTorch 2.11 warns about buffers of its own
        model, is_resized = torch.export.load(folder / "model.pt2").module(), torch.zeros((), dtype=torch.bool)
    return torch.inference_mode()(lambda image: model(torch.tensor(image)[None], is_resized)[0][0].numpy())
