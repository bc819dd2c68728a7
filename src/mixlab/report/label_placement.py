"""Labels beside points, so placed that they cover neither each other nor what is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

LETTER = 7.5  # pixels a letter of 12 pixel type takes in a wide face; the letters of East Asia take two
ABOVE, BELOW = 9, 3  # pixels of a line of type over and under the line on which it stands

Point = tuple[float, float]  # pixels to the right and down


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def overlap(self, other: "Box") -> float:
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)

    def grown(self, room: float) -> "Box":
        return Box(self.left - room, self.top - room, self.right + room, self.bottom + room)


@dataclass(frozen=True, slots=True)
class Cross:
    """A point, and the box that its interval bars span."""

    point: Point
    span: Box

    def strokes(self) -> tuple[Box, Box, Box]:
        """The two bars and the mark."""
        x, y = self.point
        across = Box(self.span.left, y, self.span.right, y).grown(2)
        upright = Box(x, self.span.top, x, self.span.bottom).grown(2)
        return across, upright, self.around(6)

    def around(self, room: float) -> Box:
        x, y = self.point
        return Box(x, y, x, y).grown(room)


@dataclass(frozen=True, slots=True)
class Label:
    """`start`: where the text begins on its line; `distance`: pixels farther out than beside its point."""

    start: Point
    box: Box
    distance: int

    def leader(self, point: Point) -> Point:
        """The place of the label that is nearest to the point, where a line from the point ends."""
        x, y = point
        return min(max(x, self.box.left), self.box.right), min(max(y, self.box.top), self.box.bottom)


def text_width(text: str) -> float:
    """Pixels, for type of 12 pixels."""
    return cell_len(text) * LETTER


def fitted(names: Sequence[str], pixels: float) -> str:
    """The names joined by a minus; where they take more than `pixels`, the longest lose letters before their end."""
    joint = " − "
    room = int(pixels / LETTER) - cell_len(joint) * (len(names) - 1)
    cells = [cell_len(name) for name in names]
    while sum(cells) > room:
        cells[cells.index(max(cells))] -= 1
    return joint.join(shortened(name, wide) for name, wide in zip(names, cells, strict=True))


def shortened(name: str, cells: int) -> str:
    """At most `cells` of a terminal's grid: names that begin alike often end apart, so what goes is before the end."""
    if cell_len(name) <= cells:
        return name
    tail = (cells - 1) // 3
    head = cells - 1 - tail
    return set_cell_size(name, head).rstrip() + "…" + set_cell_size(name[::-1], tail).rstrip()[::-1]


def place_labels(crosses: Sequence[Cross], texts: Sequence[str], within: Box) -> list[Label]:
    """One label a cross: each moves in turn to its best free place until none wants to move."""
    choices = [_places(cross, text_width(text)) for cross, text in zip(crosses, texts, strict=True)]
    costs = [
        [_cost(label, cross, crosses, within) for label in places]
        for cross, places in zip(crosses, choices, strict=True)
    ]
    recommendation_summary = [alone.index(min(alone)) for alone in costs]
    for _ in range(8):
        before = list(recommendation_summary)
        for index, places in enumerate(choices):
            others = [
                choices[other][recommendation_summary[other]].box.grown(2)
                for other in range(len(choices))
                if other != index
            ]
            together = [
                alone + 12 * sum(label.box.overlap(box) for box in others)
                for label, alone in zip(places, costs[index], strict=True)
            ]
            recommendation_summary[index] = together.index(min(together))
        if recommendation_summary == before:
            break
    return [places[recommendation] for places, recommendation in zip(choices, recommendation_summary, strict=True)]


def _places(cross: Cross, width: float) -> list[Label]:
    """Between the bars, beyond their ends, and farther and farther out."""
    (x, y), span = cross.point, cross.span
    labels = []
    for distance in (0, 14, 28, 42, 60):
        near = 9 + distance
        over, under = y - near, y + near + ABOVE - 2
        starts = [
            (x + near, over),
            (x + near, under),
            (x - near - width, over),
            (x - near - width, under),
            (span.right + near, y + 4),
            (span.left - near - width, y + 4),
            (x - width / 2, span.top - near),
            (x - width / 2, span.bottom + near + ABOVE),
            (x - 8, span.top - near),
            (x - 8, span.bottom + near + ABOVE),
        ]
        for left, line in starts:
            labels.append(Label((left, line), Box(left, line - ABOVE, left + width, line + BELOW), distance))
    return labels


def _cost(label: Label, own: Cross, crosses: Sequence[Cross], within: Box) -> float:
    """Worst outside the frame, then over what is drawn, then where it would seem to belong to another point."""
    cost = 30 * (label.box.area - label.box.overlap(within)) + 3 * label.distance
    for cross in crosses:
        cost += 3 * sum(label.box.overlap(stroke) for stroke in cross.strokes())
        if cross is not own:
            cost += 8 * label.box.overlap(cross.around(14)) + 200 * _passes(own.point, label, cross.around(8))
    return cost


def _passes(point: Point, label: Label, box: Box) -> bool:
    """Whether the line from the point to its label runs through the box."""
    end = label.leader(point)
    for part in (0.2, 0.4, 0.6, 0.8):
        x, y = (begin + part * (stop - begin) for begin, stop in zip(point, end, strict=True))
        if box.left < x < box.right and box.top < y < box.bottom:
            return True
    return False
