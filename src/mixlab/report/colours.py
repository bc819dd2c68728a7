"""Colours and markers of a report, with a light and a dark variant of each colour.

The hues are those of Okabe and Ito (Color Universal Design, 2008) without yellow and black, which have too little
contrast on a light or a dark page. Each variant has a contrast of at least 3:1 with its page, and the first five can
be distinguished with the common types of colour blindness. Shapes encode the same information as colours.
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

Shape = tuple[tuple[float, float], ...]  # corners, y upwards, about the size of the unit circle


def _regular(corners: int, turn: float, radius: float) -> Shape:
    """A regular polygon. `turn` is its rotation in full turns; 0 has a corner on the right."""
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
    _regular(3, 3 / 4, 1.3),  # triangle pointing down
    _regular(5, 1 / 4, 1.15),  # pentagon
    tuple(((x - y) * 0.75, (x + y) * 0.75) for x, y in _PLUS),  # cross
)


def colour_for(name: str, names: Sequence[str]) -> str:
    """The light variant of the colour of `name` as "#rrggbb". It depends on the position of `name` in `names`."""
    return list(HUES.values())[names.index(name) % len(HUES)][0]


def shape_for(name: str, names: Sequence[str]) -> Shape:
    """The shape of `name`. With 8 shapes and 7 hues, up to 56 names differ in shape or colour."""
    return SHAPES[names.index(name) % len(SHAPES)]


def marker_svg(name: str, names: Sequence[str]) -> str:
    """The marker of a name as a small inline SVG, for use before the name in text."""
    corners = " ".join(f"{x:.2f},{-y:.2f}" for x, y in shape_for(name, names))
    return use_css_variables(
        '<svg class="mark" viewBox="-1.4 -1.4 2.8 2.8" aria-hidden="true">'
        f'<polygon points="{corners}" style="fill: {colour_for(name, names)}"/></svg>'
    )


def use_css_variables(svg: str) -> str:
    """Replace every colour of an SVG by its CSS variable, which has a light and a dark value."""
    for role, (light, _) in (PAGE | HUES).items():
        svg = svg.replace(light, f"var(--{role})")
    return svg


def css_variables(tone: int) -> str:
    """CSS declarations of all colours. `tone` is 0 for a light page and 1 for a dark page."""
    return " ".join(f"--{role}: {tones[tone]};" for role, tones in (PAGE | HUES).items())
