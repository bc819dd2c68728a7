"""Which of several options no other one beats in both of two quantities (the Pareto frontier)."""

from collections.abc import Mapping


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the points on the frontier, with increasing cost.

    points  (cost, value) by name; a lower cost and a higher value are better

    A point is on the frontier if no other one has at least its value at no higher cost. Of equal points, the first one
    is on it.
    """
    found: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not found or points[name][1] > points[found[-1]][1]:
            found.append(name)
    return found
