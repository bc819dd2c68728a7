"""Speed of mixlab's training batches compared with torchvision's, timm's, and a loader that has all images in memory.

    python benchmarks/feeding.py --photographs FOLDER --cifar10 FOLDER --out benchmarks/results/mine.json

JPEGs of 500 x 375 and 2,000 x 1,500 pixels are made from the photographs in a temporary folder. All sides crop, resize
to 224 pixels, flip and normalise with the same settings, and give float32 batches on the CPU. Images of 32 pixels are
those of CIFAR-10: padded crop, flip, normalisation. A sample is a whole epoch. The sides alternate in one process, with
one thread each, and keep freed memory, as trainings of mixlab do; worker processes of all sides persist between epochs.

Goals, as ratios of images per second: 1.5 times torchvision's ImageFolder at 500 x 375 and 2 times at 2,000 x 1,500,
with workers; 5 times ImageFolder on images of 32 pixels, and at least the speed of a loader as airbench's.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.dataset_factory import create_dataset
from timm.data.loader import create_loader
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.augmentation.crop import RandomResizedCrop
from mixlab.data.batches import TrainingBatches
from mixlab.data.dataset import Split
from mixlab.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from mixlab.data.sources import open_dataset
from mixlab.errors import UserError
from mixlab.files import write_json
from mixlab.measure import machine
from mixlab.measure.timing import interleaved, speed_ratio
from mixlab.report.table import Column, Table, print_table
from mixlab.speed.allocator import retain_freed_memory
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import median_interval

SIDE = 224
SMALL_BATCH, PAD = 512, 4
PHOTOGRAPHS = {(500, 375): (512, 64), (2000, 1500): (96, 12)}
"""Columns and rows -> number of files, and of images in a batch."""
SMALL_IMAGES, SMALL_FILES = 20_000, 4_000
SIDES = {
    "ImageFolder": "torchvision's ImageFolder",
    "timm": "timm",
    "in memory, fp32": "a loader with all images in memory, normalised",
    "in memory, uint8": "a loader with all images in memory, uint8",
}
GOALS = {("500 x 375", "ImageFolder"): 1.5, ("2000 x 1500", "ImageFolder"): 2.0}
"""With workers."""
SMALL_GOALS = {"ImageFolder": 5.0, "in memory, fp32": 1.0, "in memory, uint8": 1.0}
"""For images of 32 x 32, with and without workers."""

Epoch = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class Result:
    images: str
    workers: int
    seconds_per_image: dict[str, list[float]]  # one per round
    speed_ratios: dict[str, Estimate]  # the other side's time / mixlab's time: above 1, mixlab is faster


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the speed of mixlab's training batches with other loaders.")
    parser.add_argument("--photographs", type=Path, help="a folder with JPEG files below it")
    parser.add_argument("--cifar10", type=Path, help="a folder that cifar10:FOLDER reads")
    parser.add_argument("--sizes", nargs="+", type=int, default=[500, 2000], help="columns of the photographs")
    parser.add_argument("--workers", nargs="+", type=int, default=[2, 0], help="worker processes (default 2 and 0)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write all samples to this JSON file")
    arguments = parser.parse_args()
    if arguments.photographs is None and arguments.cifar10 is None:
        raise UserError("There is nothing to measure: give --photographs FOLDER, --cifar10 FOLDER or both.")
    torch.set_num_threads(1)
    retain_freed_memory()
    results: list[Result] = []
    with TemporaryDirectory() as folder:
        for images, sides in setups(arguments, Path(folder)):
            for workers in arguments.workers:
                results.append(compare(images, sides(workers), workers, arguments.rounds))
                print(results[-1].images, workers, {k: round(v.value, 2) for k, v in results[-1].speed_ratios.items()})
    if arguments.out:
        write_json(arguments.out, record(results))
    print_table(table(results))


def setups(
    arguments: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, Callable[[int], dict[str, tuple[Epoch, int]]]]]:
    """The name of each kind of images, and a function that makes its sides for a number of workers.

    A side is a function that gives the batches of its next epoch, and the number of images of an epoch.
    """
    if arguments.photographs is not None:
        for size, (count, batch) in PHOTOGRAPHS.items():
            if size[0] in arguments.sizes:
                root = folder / f"{size[0]}"
                write_photographs(arguments.photographs, root, size, count)
                yield f"{size[0]} x {size[1]}", partial(photograph_sides, root, batch)
    if arguments.cifar10 is not None:
        train = open_dataset(f"cifar10:{arguments.cifar10}", quiet=True).splits["train"]
        split = train.subset(np.arange(SMALL_IMAGES))
        write_files(split, folder / "32")
        yield "32 x 32", partial(small_sides, split, folder / "32")


def compare(images: str, sides: dict[str, tuple[Epoch, int]], workers: int, rounds: int) -> Result:
    callables = {name: partial(read_all, epoch) for name, (epoch, _) in sides.items()}
    seconds = interleaved(callables, rounds, warmup=2)
    per_image = {name: [sample / sides[name][1] for sample in samples] for name, samples in seconds.items()}
    ratios = {name: speed_ratio(per_image["mixlab"], of=per_image[name]) for name in per_image if name != "mixlab"}
    return Result(images, workers, per_image, ratios)


def read_all(epoch: Epoch) -> None:
    """Read all batches, and all values of each once, as a model does."""
    for images in epoch():
        images.amax()


def write_photographs(source: Path, root: Path, size: tuple[int, int], count: int) -> None:
    """Write `count` photographs as JPEGs of `size` (columns, rows): a central crop with its aspect ratio, resized."""
    files = sorted(source.rglob("*.jpg"))
    if len(files) < count:
        raise UserError(f"{source} has {len(files)} files with the suffix .jpg: {count} are needed.")
    for number, file in enumerate(files[:: len(files) // count][:count]):
        image = Image.open(file).convert("RGB")
        if image.width < image.height:
            image = image.transpose(Image.Transpose.ROTATE_90)
        scale = min(image.width / size[0], image.height / size[1])
        left, top = (image.width - size[0] * scale) / 2, (image.height - size[1] * scale) / 2
        box = left, top, image.width - left, image.height - top
        target = root / f"class{number % 4}" / f"{number:04d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.resize(size, Image.Resampling.BICUBIC, box=box).save(target, quality=90)


def photograph_sides(root: Path, batch: int, workers: int) -> dict[str, tuple[Epoch, int]]:
    crop = transforms.RandomResizedCrop(SIDE, interpolation=transforms.InterpolationMode.BICUBIC)
    steps = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    pipeline = transforms.Compose([*steps, transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    files = sorted(root.rglob("*.jpg"))
    count = len(files)
    split = Split([file.name for file in files], np.array([int(file.parent.name[-1]) for file in files]), files)
    preprocess = Preprocess((SIDE, SIDE), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    augmentation = Augmentation(flip=True, random_resized_crop=RandomResizedCrop())
    batches = TrainingBatches(split, preprocess, augmentation, batch=batch, seed=0, workers=workers, quiet=True)
    return {
        "mixlab": (mixlab_epochs(batches), count),
        "ImageFolder": (torchvision_epochs(ImageFolder(str(root), pipeline), batch, workers), count),
        "timm": (timm_epochs(root, batch, workers), count // batch * batch),
    }


def mixlab_epochs(batches: TrainingBatches) -> Epoch:
    epochs = iter(range(10**6))
    return lambda: (batch.on("cpu")[0] for batch in batches.epoch(next(epochs)))


def torchvision_epochs(dataset: ImageFolder, batch: int, workers: int) -> Epoch:
    loader = DataLoader(dataset, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (images for images, _ in loader)


def timm_epochs(root: Path, batch: int, workers: int) -> Epoch:
    loader = create_loader(
        create_dataset("", str(root)),  # pyright: ignore[reportArgumentType]
        input_size=(3, SIDE, SIDE),
        batch_size=batch,
        is_training=True,
        interpolation="bicubic",
        color_jitter=None,  # pyright: ignore[reportArgumentType]
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        num_workers=workers,
        persistent_workers=workers > 0,
        device=torch.device("cpu"),
    )
    return lambda: (images for images, _ in loader)


def write_files(split: Split, root: Path) -> None:
    """Write the first images of a split as PNG files for ImageFolder."""
    for index in range(SMALL_FILES):
        target = root / f"class{split.labels[index]}" / f"{index:05d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.image(index)).save(target)


def small_sides(split: Split, root: Path, workers: int) -> dict[str, tuple[Epoch, int]]:
    crop = transforms.RandomCrop(32, PAD, padding_mode="reflect")
    steps = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    pipeline = transforms.Compose([*steps, transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    preprocess = Preprocess((32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    augmentation = Augmentation(flip=True, pad_crop=PAD)
    batches = TrainingBatches(split, preprocess, augmentation, batch=SMALL_BATCH, seed=0, workers=workers, quiet=True)
    pixels = torch.from_numpy(np.stack([split.image(index) for index in range(len(split))])).permute(0, 3, 1, 2)
    images = pixels.contiguous()
    return {
        "mixlab": (mixlab_epochs(batches), len(split)),
        "ImageFolder": (torchvision_epochs(ImageFolder(str(root), pipeline), SMALL_BATCH, workers), SMALL_FILES),
        "in memory, fp32": (in_memory_epochs(preprocess.normalised(images), lambda batch: batch), len(split)),
        "in memory, uint8": (in_memory_epochs(images, preprocess.normalised), len(split)),
    }


def in_memory_epochs(images: Tensor, finish: Callable[[Tensor], Tensor]) -> Epoch:
    """Epochs as described in Jordan 2024, https://arxiv.org/abs/2404.00498: all images are augmented at once.

    They are in memory and padded. An epoch crops all of them by one shift at a time, first along the rows and then
    along the columns, flips half of them and gives finished slices of a permutation.
    """
    count, _, rows, columns = images.shape
    padded = F.pad(images.float(), (PAD,) * 4, mode="reflect").to(images.dtype)  # float: not implemented for uint8

    def epoch() -> Iterator[Tensor]:
        shifts = torch.randint(2 * PAD + 1, (count, 2))
        shifted = padded.new_empty((count, 3, rows, columns + 2 * PAD))
        cropped = torch.empty_like(images)
        for shift in range(2 * PAD + 1):
            chosen = shifts[:, 0] == shift
            shifted[chosen] = padded[chosen, :, shift : shift + rows]
        for shift in range(2 * PAD + 1):
            chosen = shifts[:, 1] == shift
            cropped[chosen] = shifted[chosen, :, :, shift : shift + columns]
        flipped = torch.where((torch.rand(count) < 0.5)[:, None, None, None], cropped.flip(-1), cropped)
        for indices in torch.randperm(count).split(SMALL_BATCH):
            yield finish(flipped[indices])

    return epoch


def record(results: list[Result]) -> dict[str, Any]:
    rows = [asdict(result) for result in results]
    return {
        "date": date.today().isoformat(),
        "machine": machine.describe(torch.device("cpu")),
        "claims": claims(rows),
        "results": rows,
    }


def claims(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "claim": f"fp32 training batches of images of {result['images']} pixels, "
            f"{result['workers'] or 'no'} workers: images/s of mixlab / {SIDES[side]}",
            "value": ratio,
            "goal": goal_of(result["images"], side, result["workers"]),
        }
        for result in results
        for side, ratio in result["speed_ratios"].items()
    ]


def goal_of(images: str, side: str, workers: int) -> float | None:
    if images == "32 x 32":
        return SMALL_GOALS.get(side)
    return GOALS.get((images, side)) if workers else None


def table(results: list[Result]) -> Table:
    rows = []
    for result in results:
        for side, samples in result.seconds_per_image.items():
            speed = median_interval([1 / sample for sample in samples], "images/s")
            goal = goal_of(result.images, side, result.workers)
            rows.append(
                {
                    "images": result.images,
                    "workers": result.workers,
                    "side": side,
                    "speed": speed,
                    "ratio": result.speed_ratios.get(side),
                    "goal": f">= {goal}" if goal else "",
                }
            )
    return Table(
        "Training batches: images per second, and the speed of mixlab relative to each side",
        [
            Column("images", "Images"),
            Column("workers", "Workers"),
            Column("side", "Loader"),
            Column("speed", "Images per second", digits=0),
            Column("ratio", "mixlab / loader", digits=2),
            Column("goal", "Goal"),
        ],
        rows,
        notes=["Medians of interleaved epochs with 95 % intervals, one thread per process."],
    )


if __name__ == "__main__":
    main()
