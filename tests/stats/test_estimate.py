from mixlab.stats.estimate import Estimate


def test_a_counted_number_is_its_own_interval():
    parameters = Estimate.exact(59_880_472, "parameters")
    assert (parameters.low, parameters.value, parameters.high) == (59_880_472, 59_880_472, 59_880_472)


def test_a_counted_number_was_counted_once_and_has_no_spread():
    parameters = Estimate.exact(59_880_472, "parameters")
    assert (parameters.n, parameters.spread, parameters.unit) == (1, None, "parameters")
