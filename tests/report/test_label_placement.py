from itertools import combinations

from mixlab.report.label_placement import Box, Cross, place_labels

FRAME = Box(0, 0, 360, 320)


def cross(x: float, y: float, extent: float = 10) -> Cross:
    return Cross((x, y), Box(x - extent, y - extent, x + extent, y + extent))


def test_a_single_label_is_next_to_its_point():
    (label,) = place_labels([cross(100, 100)], ["mixer"], FRAME)
    assert label.distance == 0
    assert not any(label.box.overlap(stroke) for stroke in cross(100, 100).strokes())


def test_labels_of_close_points_overlap_neither_each_other_nor_a_marker():
    crosses = [cross(150 + 12 * step, 160 - 9 * step) for step in range(5)]
    labels = place_labels(crosses, ["convmixer_nano"] * 5, FRAME)
    assert not any(a.box.overlap(b.box) for a, b in combinations(labels, 2))
    assert not any(label.box.overlap(point.around(5)) for label in labels for point in crosses)


def test_a_label_near_the_edge_is_inside_the_frame():
    (label,) = place_labels([cross(350, 10)], ["a long name of a model"], FRAME)
    assert label.box.overlap(FRAME) == label.box.area


def test_a_label_is_not_placed_near_another_point():
    upper, lower = Cross((170, 200), Box(160, 170, 180, 230)), Cross((170, 220), Box(120, 210, 220, 230))
    upper_label, lower_label = place_labels([upper, lower], ["a long name", "another name"], FRAME)
    assert not upper_label.box.overlap(lower.around(14))
    assert not lower_label.box.overlap(upper.around(14))
