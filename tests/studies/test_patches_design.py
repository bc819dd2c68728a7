"""The cells of the study of patches, and the effects that they estimate."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from mixlab.studies.patches_claims import claims
from mixlab.studies.patches_design import (
    DATA,
    DEPTHWISE_OVER_ATTENTION,
    MIXING,
    MIXINGS,
    MLP_OVER_ATTENTION,
    SHAPE,
    STEM,
    Cell,
    Effect,
    Fraction,
    cells,
    effects,
    interactions,
)

FRACTIONS: tuple[Fraction, ...] = ("full", "half")
GAINS = {"token MLP": 2.0, "depthwise": 5.0, "convolutions": 3.0, "pyramid": -1.0, "many images": 20.0}


def scores_of(fraction: Fraction, gains: dict[str, float]) -> dict[Cell, np.ndarray]:
    """Two repetitions of each cell: 40 and 41, and the gains of all names of levels that the cell has."""
    return {
        cell: np.array([40.0, 41.0])
        + sum(gain for levels, gain in gains.items() if set(levels.split(" + ")) <= {*cell})
        for cell in cells(fraction)
    }


def values(effect: Effect, fraction: Fraction, gains: dict[str, float]) -> list[float]:
    return effect.values(scores_of(fraction, gains)).tolist()


def test_a_half_fraction_has_every_network_once_and_every_level_equally_often():
    full, half = cells("full"), cells("half")
    assert (len(full), len(half)) == (24, 12)
    assert {cell.network for cell in half} == {cell.network for cell in full}
    assert Counter(level for cell in half for level in cell) == Counter(
        {level: 4 if level in MIXINGS else 6 for cell in full for level in cell}
    )


@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_half_fraction_has_patches_with_all_images_and_every_pair_of_levels(mixing):
    half = [cell for cell in cells("half") if cell.mixing == mixing]
    assert Cell(mixing, "patch", "isotropic", "many images") in half
    for one, other in combinations(range(1, 4), 2):
        assert len({(cell[one], cell[other]) for cell in half}) == 4


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_main_effects_are_recovered_where_there_are_no_interactions(fraction):
    expected = {STEM: 3.0, SHAPE: -1.0, DATA: 20.0, MLP_OVER_ATTENTION: 2.0, DEPTHWISE_OVER_ATTENTION: 5.0}
    for contrast, effect in expected.items():
        assert values(Effect(contrast), fraction, GAINS) == pytest.approx([effect] * 2)
    assert values(Effect(MIXING[2]), fraction, GAINS) == pytest.approx([3.0] * 2)
    for effect in interactions(fraction):
        assert values(effect, fraction, GAINS) == pytest.approx([0.0] * 2)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_interactions_of_the_mixing_are_recovered_and_are_in_no_main_effect_of_the_mixing(fraction):
    gains = GAINS | {"token MLP + many images": 4.0, "token MLP + patch": -4.0}
    assert values(Effect(MLP_OVER_ATTENTION, DATA), fraction, gains) == pytest.approx([4.0] * 2)
    assert values(Effect(MLP_OVER_ATTENTION, STEM), fraction, gains) == pytest.approx([4.0] * 2)
    assert values(Effect(MLP_OVER_ATTENTION), fraction, gains) == pytest.approx([2.0] * 2)


def test_in_the_half_fraction_a_main_effect_includes_half_of_the_interaction_of_the_other_two_factors():
    gains = {"convolutions": 3.0, "pyramid + many images": 6.0}
    assert values(Effect(STEM), "full", gains) == pytest.approx([3.0] * 2)
    assert values(Effect(SHAPE, DATA), "full", gains) == pytest.approx([6.0] * 2)
    assert values(Effect(STEM), "half", gains) == pytest.approx([3.0 + 6.0 / 2] * 2)
    assert values(Effect(STEM, mixing="attention"), "half", gains) == pytest.approx([6.0] * 2)
    assert Effect(STEM).alias == "shape and images"
    assert Effect(SHAPE).alias == "stem and images"
    assert Effect(DATA).alias == "stem and shape"
    assert Effect(MLP_OVER_ATTENTION).alias == Effect(MLP_OVER_ATTENTION, DATA).alias == ""


def test_an_effect_within_a_mixing_ignores_the_others():
    gains = {"convolutions + attention": 7.0, "convolutions + depthwise": -50.0}
    assert values(Effect(STEM, mixing="attention"), "full", gains) == pytest.approx([7.0] * 2)
    assert Effect(STEM, mixing="attention").name == "convolutions over patch, with attention"


def test_the_full_design_also_estimates_the_interactions_of_stem_shape_and_images():
    assert set(interactions("full")) - set(interactions("half")) == {
        Effect(STEM, SHAPE),
        Effect(STEM, DATA),
        Effect(SHAPE, DATA),
    }


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_every_claim_is_about_effects_of_the_design_and_names_its_aliases(fraction):
    names = {effect.name: effect for effect in effects(fraction)}
    for claim in claims(fraction):
        aliases = [names[name].alias for name in claim.contrast]
        for alias in filter(None, aliases):
            assert (f"includes half of the interaction of {alias}" in claim.regime) == (fraction == "half")
    assert sum("half of the interaction" in claim.regime for claim in claims("half")) == 4
