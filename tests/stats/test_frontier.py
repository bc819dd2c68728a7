"""The frontier against its definition, and with ties."""

from hypothesis import given
from hypothesis import strategies as st

from mixlab.stats.frontier import frontier


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), unique=True))
def test_a_point_is_on_the_frontier_if_no_other_one_is_as_good_at_no_higher_cost(pairs):
    points = {str(place): pair for place, pair in enumerate(pairs)}
    expected = {
        name
        for name, (cost, value) in points.items()
        if not any(other != name and points[other][0] <= cost and points[other][1] >= value for other in points)
    }
    assert set(frontier(points)) == expected


def test_the_names_are_in_the_order_of_the_cost():
    assert frontier({"large": (9, 90), "small": (1, 50), "worse": (9, 80), "middle": (4, 70)}) == [
        "small",
        "middle",
        "large",
    ]


def test_of_equal_points_the_first_one_is_on_the_frontier():
    assert frontier({"first": (1, 50), "second": (1, 50)}) == ["first"]
