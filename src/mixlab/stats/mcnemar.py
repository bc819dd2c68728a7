"""The exact test of two models that were trained once each and evaluated on the same images (McNemar, 1947)."""

from scipy.special import bdtr


def mcnemar_p(only_a: int, only_b: int) -> float:
    """The two-sided p-value of equal accuracies: the sign test of the images on which the models disagree.

    only_a: number of images that only model a classifies correctly.
    only_b: number of images that only model b classifies correctly.

    The test is exact: among all images on which equal models disagree, each model is correct with a probability of
    1/2. False alarms occur in at most 5 % of the comparisons, and in fewer if there are few disagreements: with five
    or fewer, p is never below 0.05. p is 1 if there is none.
    """
    disagreements = only_a + only_b
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), disagreements, 0.5)))
