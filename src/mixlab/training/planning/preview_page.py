"""The page of a preview: each image beside its versions, then a mixed batch."""

from importlib.metadata import version

import tomli_w

from mixlab.report.image_grid import Gallery, Shown
from mixlab.report.page import Block, Code, Details, Page, Section, Summary, written_by
from mixlab.report.text import pluralize
from mixlab.training.planning.preview import EPOCHS, Preview, Seen


def preview_page(preview: Preview) -> Page:
    sections = [Section("Image by image", [_gallery(one) for one in preview.seen])]
    if preview.mixed:
        sections.append(_mixed(preview))
    if preview.unreadable:
        named: list[Block] = [f"{name} can't be read: {reason}." for name, reason in preview.unreadable.items()]
        sections.append(Section("What can't be read", named))
    sections.append(_augmentation_details(preview))
    recipe = preview.job.recipe
    return Page(
        title=f"What {recipe.model} will see of {preview.job.dataset.name}",
        kicker="mixlab data preview",
        answer=Summary(_summary(preview), "Colours are as the eye knows them; the model gets them normalised."),
        sections=sections,
        footer=written_by(version("mixlab")),
    )


def _summary(preview: Preview) -> str:
    height, width = preview.job.preprocess.image_size
    unreadable = len(preview.unreadable)
    failed = f"; {pluralize(unreadable, 'image')} can't be read" if unreadable else ""
    return (
        f"{pluralize(len(preview.seen), 'image')} at {height}x{width} pixels, as they are judged and as the first "
        f"{EPOCHS} epochs show them{failed}."
    )


def _gallery(seen: Seen) -> Gallery:
    rows, columns, _ = seen.original.shape
    images = [Shown(seen.original, "the file", f"{rows}x{columns}"), Shown(seen.evaluated, "as it is judged")]
    images += [Shown(image, f"epoch {epoch}") for epoch, image in enumerate(seen.epochs, start=1)]
    return Gallery(seen.label, images, seen.name)


def _mixed(preview: Preview) -> Section:
    shown = [Shown(one.image, one.target) for one in preview.mixed]
    caption = "As the first step shows them. A batch is mixed as often as the recipe says, and this one may not be."
    return Section("A mixed batch", [Gallery("What each is to be taken for", shown, caption)])


def _augmentation_details(preview: Preview) -> Section:
    recipe = preview.job.recipe.to_dict()
    sections = {"augmentation": recipe["augmentation"], "loss": recipe["loss"]}
    made_by = {
        "The recipe's augmentation and loss": sections,
        "How an image is prepared": preview.job.preprocess.to_dict(),
    }
    return Section(
        "What makes it", [Details(name, [Code(tomli_w.dumps(section))]) for name, section in made_by.items()]
    )
