"""A plain evaluation of a timm model on a folder of photographs, for `benchmarks/commands.py`.

    python benchmarks/plain_evaluation.py davit_tiny PHOTOGRAPHS "OpenVINO bf16"

It is the usual script: torchvision's ImageFolder with timm's transforms, a DataLoader with a worker for each core, and
the model in one of the two executions that are the fastest of the peers on a CPU. It prints the top-1 accuracy.
"""

import argparse
from collections.abc import Callable

import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from mixlab.measure.machine import usable_cores
from mixlab.speed.openvino import compile_openvino, to_openvino

BATCH = 32


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    forward = torch.compile(model.bfloat16())
    return lambda images: forward(images.bfloat16())


def in_openvino(model: nn.Module) -> Callable[[Tensor], Tensor]:
    forward = compile_openvino(to_openvino(model, (3, 224, 224)), "bf16")
    return lambda images: forward(images)[0]


EXECUTIONS = {"compiled bf16": compiled, "OpenVINO bf16": in_openvino}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="timm's name")
    parser.add_argument("folder", help="a folder of photographs for each class")
    parser.add_argument("execution", choices=sorted(EXECUTIONS))
    arguments = parser.parse_args()
    model = timm.create_model(arguments.model).eval()
    transform = create_transform(**resolve_data_config({}, model=model))
    photographs = ImageFolder(arguments.folder, transform)  # pyright: ignore[reportArgumentType]
    loader = DataLoader(photographs, BATCH, num_workers=usable_cores())
    forward = EXECUTIONS[arguments.execution](model)
    correct = total = 0
    with torch.inference_mode():
        for images, labels in loader:
            correct += int((forward(images).argmax(1) == labels).sum())
            total += len(labels)
    print(f"{100 * correct / total:.2f} % of {total} photographs")


if __name__ == "__main__":
    main()
