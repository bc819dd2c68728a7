"""The report page of a preview: the versions of each image, and a mixed batch."""

from importlib.metadata import version

import tomli_w

from mixlab.report.image_grid import Gallery, Shown
from mixlab.report.page import Block, Code, Details, Page, Section, Summary, written_by
from mixlab.report.text import pluralize
from mixlab.training.planning.preview import EPOCHS, Preview, PreviewedImage


def preview_page(preview: Preview) -> Page:
    """The report page of a preview."""
    sections = [Section("Images", [_gallery(image) for image in preview.images])]
    if preview.mixed:
        sections.append(_mixed(preview))
    if preview.unreadable:
        lines: list[Block] = [f"{name} can't be read: {reason}." for name, reason in preview.unreadable.items()]
        sections.append(Section("Unreadable images", lines))
    sections.append(_augmentation_details(preview))
    recipe = preview.job.recipe
    return Page(
        title=f"Preview of {preview.job.dataset.name} for {recipe.model}",
        kicker="mixlab data preview",
        summary=Summary(_summary(preview), "Colours are shown without the normalisation that the model gets."),
        sections=sections,
        footer=written_by(version("mixlab")),
    )


def _summary(preview: Preview) -> str:
    height, width = preview.job.image_preprocess.image_size
    unreadable = len(preview.unreadable)
    failed = f"; {pluralize(unreadable, 'image')} can't be read" if unreadable else ""
    return (
        f"{pluralize(len(preview.images), 'image')} at {height}x{width} pixels, as in evaluation and as in the first "
        f"{EPOCHS} epochs of training{failed}."
    )


def _gallery(previewed: PreviewedImage) -> Gallery:
    rows, columns, _ = previewed.original.shape
    images = [Shown(previewed.original, "file", f"{rows}x{columns}"), Shown(previewed.evaluated, "evaluation")]
    images += [Shown(image, f"epoch {epoch}") for epoch, image in enumerate(previewed.epochs, start=1)]
    return Gallery(previewed.label, images, previewed.name)


def _mixed(preview: Preview) -> Section:
    images = [Shown(mixed.image, mixed.target) for mixed in preview.mixed]
    caption = "The batch of the first step. If the recipe mixes only some of the batches, this one may be unmixed."
    return Section("A mixed batch", [Gallery("Images and targets", images, caption)])


def _augmentation_details(preview: Preview) -> Section:
    recipe = preview.job.recipe.to_dict()
    sections = {"augmentation": recipe["augmentation"], "loss": recipe["loss"]}
    settings = {
        "Augmentation and loss of the recipe": sections,
        "Preprocessing": preview.job.image_preprocess.to_dict(),
    }
    return Section("Settings", [Details(name, [Code(tomli_w.dumps(section))]) for name, section in settings.items()])
