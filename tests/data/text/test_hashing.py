"""From a text to tokens and hashed features."""

import zlib

import numpy as np

from mixlab.data.text.hashing import hashed, tokens_of


def test_words_and_punctuation_marks_are_tokens_in_lower_case():
    assert tokens_of("Where's  the\tÉcole? 42") == ["where", "'", "s", "the", "école", "?", "42"]


def test_compatible_characters_are_the_same_token():
    assert tokens_of("ﬁne ①") == tokens_of("fine 1")


def test_the_features_of_a_token_do_not_change():
    """They are part of trained models, so a change would make all of them useless."""
    features = (("where", "\x02 where", "\x02wh", "whe"), ("is", "where is", "\x02is", "is\x03"))
    expected = [[1 + zlib.crc32(feature.encode()) % 999 for feature in of_token] for of_token in features]
    found = hashed(["where", "is"], 3, 4, 1000)
    assert found.tolist() == [*expected, [0, 0, 0, 0]]
    assert found[0, 0] == 60


def test_features_are_within_the_buckets_and_0_is_padding_only():
    found = hashed([f"word{index}" for index in range(200)], 200, 16, 20)
    assert (found[:, 0] > 0).all() and found.max() < 20
    counts = (found > 0).sum(axis=1)
    assert (counts <= 16).all() and counts.min() > 4


def test_a_longer_text_is_cut():
    assert np.array_equal(hashed(["a", "b", "c"], 2, 4, 100), hashed(["a", "b"], 2, 4, 100))


def test_a_misspelt_word_has_most_n_grams_of_the_correct_one():
    correct, misspelt = (set(hashed([word], 1, 32, 2**20)[0, 2:].tolist()) for word in ("transferred", "transfered"))
    assert len(correct & misspelt) > len(misspelt) / 2


def test_the_word_before_changes_one_feature():
    first, second = (hashed([before, "card"], 2, 16, 2**20)[1] for before in ("my", "new"))
    assert (first != second).sum() == 1
