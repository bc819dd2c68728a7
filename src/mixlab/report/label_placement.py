"""Placement of labels next to points, without overlaps with other labels, markers and interval bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from mixlab.report.text_width import text_width

ABOVE, BELOW = 9, 3  # pixels of a line of text above and below its baseline

Point = tuple[float, float]  # pixels to the right and down


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; y increases downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def overlap(self, other: "Box") -> float:
        """Area of the intersection."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def grow(self, margin: float) -> "Box":
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)


@dataclass(frozen=True, slots=True)
class Cross:
    """A point with its interval bars, which span the box `span`."""

    point: Point
    span: Box

    def strokes(self) -> tuple[Box, Box, Box]:
        """Boxes around the horizontal bar, the vertical bar and the marker."""
        x, y = self.point
        horizontal = Box(self.span.left, y, self.span.right, y).grow(2)
        vertical = Box(x, self.span.top, x, self.span.bottom).grow(2)
        return horizontal, vertical, self.around(6)

    def around(self, margin: float) -> Box:
        """The square that extends `margin` pixels around the point."""
        x, y = self.point
        return Box(x, y, x, y).grow(margin)


@dataclass(frozen=True, slots=True)
class Label:
    """A position of a label: `start` of its baseline, its `box`, and its extra `distance` from the point in pixels."""

    start: Point
    box: Box
    distance: int

    def leader(self, point: Point) -> Point:
        """The point of the label's box nearest to `point`, which is the end of the leader line."""
        x, y = point
        return min(max(x, self.box.left), self.box.right), min(max(y, self.box.top), self.box.bottom)


def place_labels(crosses: Sequence[Cross], texts: Sequence[str], within: Box) -> list[Label]:
    """Place one label per cross inside the box `within`.

    Starts with the cheapest position of each label, then moves labels one at a time to their cheapest position given
    the others, until none moves (at most 8 passes).
    """
    candidates = [_candidates(cross, text_width(text)) for cross, text in zip(crosses, texts, strict=True)]
    costs = [
        [_cost(label, cross, crosses, within) for label in positions]
        for cross, positions in zip(crosses, candidates, strict=True)
    ]
    chosen = [label_costs.index(min(label_costs)) for label_costs in costs]
    for _ in range(8):
        before = list(chosen)
        for index, positions in enumerate(candidates):
            others = [
                candidates[other][chosen[other]].box.grow(2) for other in range(len(candidates)) if other != index
            ]
            total_costs = [
                cost + 12 * sum(label.box.overlap(box) for box in others)
                for label, cost in zip(positions, costs[index], strict=True)
            ]
            chosen[index] = total_costs.index(min(total_costs))
        if chosen == before:
            break
    return [positions[choice] for positions, choice in zip(candidates, chosen, strict=True)]


def _candidates(cross: Cross, width: float) -> list[Label]:
    """Candidate positions: between the bars and beyond their ends, at increasing distances."""
    (x, y), span = cross.point, cross.span
    labels = []
    for distance in (0, 14, 28, 42, 60):
        near = 9 + distance
        above, below = y - near, y + near + ABOVE - 2
        starts = [
            (x + near, above),
            (x + near, below),
            (x - near - width, above),
            (x - near - width, below),
            (span.right + near, y + 4),
            (span.left - near - width, y + 4),
            (x - width / 2, span.top - near),
            (x - width / 2, span.bottom + near + ABOVE),
            (x - 8, span.top - near),
            (x - 8, span.bottom + near + ABOVE),
        ]
        for left, baseline in starts:
            box = Box(left, baseline - ABOVE, left + width, baseline + BELOW)
            labels.append(Label((left, baseline), box, distance))
    return labels


def _cost(label: Label, own: Cross, crosses: Sequence[Cross], within: Box) -> float:
    """Penalties for leaving the frame, covering marks, being near another point, and distance."""
    cost = 30 * (label.box.area - label.box.overlap(within)) + 3 * label.distance
    for cross in crosses:
        cost += 3 * sum(label.box.overlap(stroke) for stroke in cross.strokes())
        if cross is not own:
            cost += 8 * label.box.overlap(cross.around(14)) + 200 * _leader_crosses(own.point, label, cross.around(8))
    return cost


def _leader_crosses(point: Point, label: Label, box: Box) -> bool:
    """Whether the leader line from the point to its label crosses the box."""
    end = label.leader(point)
    for fraction in (0.2, 0.4, 0.6, 0.8):
        x, y = (begin + fraction * (stop - begin) for begin, stop in zip(point, end, strict=True))
        if box.left < x < box.right and box.top < y < box.bottom:
            return True
    return False
