"""The colours and marks of a report: one tone for a light page and one for a dark page.

The hues are those of Okabe and Ito (Color Universal Design, 2008) without yellow and black, which vanish on a light
or a dark page; the tones are set so that each stands out from its page by 3:1 or more, and the first five stay apart
for the common kinds of colour blindness. A mark's shape repeats what its colour says.
"""

from collections.abc import Sequence
from math import cos, pi, sin

PAGE = {  # role: (light, dark)
    "ground": ("#fefefe", "#14161a"),
    "raised": ("#f4f5f6", "#1d2025"),
    "rule": ("#dfe1e4", "#32363d"),
    "shade": ("#b9bdc3", "#555b64"),
    "muted": ("#5d626a", "#a1a7b0"),
    "ink": ("#1a1c20", "#e8e9eb"),
    "accent": ("#4640b8", "#a5a3ff"),
}
HUES = {
    "blue": ("#0072b2", "#3d8fd9"),
    "vermilion": ("#b8450f", "#e0692f"),
    "green": ("#0b9e74", "#52d6a5"),
    "purple": ("#83346d", "#c96f9f"),
    "orange": ("#b98900", "#f5c657"),
    "grey": ("#6d7278", "#b3b8bf"),
    "sky": ("#3f93cf", "#8fcdf5"),
}
GROUND, RAISED, RULE, SHADE, MUTED, INK, ACCENT = (light for light, _ in PAGE.values())

Shape = tuple[tuple[float, float], ...]  # corners, y upwards, about as large as the unit circle


def _regular(corners: int, turn: float, radius: float) -> Shape:
    """`turn` in circles: 0 has a corner on the right."""
    angles = [2 * pi * (corner / corners + turn) for corner in range(corners)]
    return tuple((round(radius * cos(angle), 3), round(radius * sin(angle), 3)) for angle in angles)


_PLUS: Shape = tuple(
    (x * 1.05, y * 1.05)
    for x, y in (
        *((0.36, 1), (-0.36, 1), (-0.36, 0.36), (-1, 0.36), (-1, -0.36), (-0.36, -0.36)),
        *((-0.36, -1), (0.36, -1), (0.36, -0.36), (1, -0.36), (1, 0.36), (0.36, 0.36)),
    )
)
SHAPES: tuple[Shape, ...] = (
    _regular(32, 0, 1),  # disc
    _regular(4, 1 / 8, 1.25),  # square
    _regular(3, 1 / 4, 1.3),  # triangle
    _regular(4, 0, 1.3),  # diamond
    _PLUS,
    _regular(3, 3 / 4, 1.3),  # triangle on its tip
    _regular(5, 1 / 4, 1.15),  # pentagon
    tuple(((x - y) * 0.75, (x + y) * 0.75) for x, y in _PLUS),  # cross
)


def colour_of(name: str, names: Sequence[str]) -> str:
    """The tone on a light page as "#rrggbb"; the same names in the same order give the same colours."""
    return list(HUES.values())[names.index(name) % len(HUES)][0]


def shape_of(name: str, names: Sequence[str]) -> Shape:
    """One shape more than hues: 56 names differ in one or the other."""
    return SHAPES[names.index(name) % len(SHAPES)]


def mark(name: str, names: Sequence[str]) -> str:
    """The mark of a name as a small inline SVG, to stand before the name in text."""
    corners = " ".join(f"{x:.2f},{-y:.2f}" for x, y in shape_of(name, names))
    return themed(
        '<svg class="mark" viewBox="-1.4 -1.4 2.8 2.8" aria-hidden="true">'
        f'<polygon points="{corners}" style="fill: {colour_of(name, names)}"/></svg>'
    )


def themed(svg: str) -> str:
    """Every light tone of an SVG's styles becomes the CSS variable that has a light and a dark value."""
    for role, (light, _) in (PAGE | HUES).items():
        svg = svg.replace(light, f"var(--{role})")
    return svg


def variables(tone: int) -> str:
    """The CSS declarations of every colour; `tone` is 0 for a light page and 1 for a dark one."""
    return " ".join(f"--{role}: {tones[tone]};" for role, tones in (PAGE | HUES).items())
