from mixlab.stats.estimate import Estimate


def test_the_interval_of_a_counted_number_has_width_zero():
    parameters = Estimate.exact(59_880_472, "parameters")
    assert (parameters.low, parameters.value, parameters.high) == (59_880_472, 59_880_472, 59_880_472)


def test_a_counted_number_has_n_1_and_no_spread():
    parameters = Estimate.exact(59_880_472, "parameters")
    assert (parameters.n, parameters.spread, parameters.unit) == (1, None, "parameters")
