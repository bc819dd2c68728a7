import hashlib

import numpy as np
import pytest

from mixlab.data.rng import epoch_order, image_uniforms, named_generator, step_seed


def test_random_numbers_of_an_image_do_not_depend_on_other_images():
    all_images = image_uniforms(7, 3, np.arange(100), 5)
    assert (image_uniforms(7, 3, np.array([42, 7]), 5) == all_images[[42, 7]]).all()


def test_a_larger_count_keeps_the_first_numbers():
    indices = np.arange(10)
    assert (image_uniforms(7, 3, indices, 29)[:, :5] == image_uniforms(7, 3, indices, 5)).all()


@pytest.mark.parametrize(("seed", "epoch"), [(8, 3), (7, 4), (3, 7)])
def test_another_seed_or_epoch_gives_other_numbers(seed, epoch):
    assert not (image_uniforms(7, 3, np.arange(10), 5) == image_uniforms(seed, epoch, np.arange(10), 5)).any()


def test_random_numbers_are_uniform_between_0_and_1():
    uniforms = image_uniforms(0, 0, np.arange(4000), 5)
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    counts = np.histogram(uniforms, bins=10, range=(0, 1))[0]
    assert abs(counts - 2000).max() < 5 * np.sqrt(2000 * 0.9)  # five standard deviations of a bin's count


def test_columns_are_uncorrelated():
    uniforms = image_uniforms(0, 0, np.arange(4000), 4)
    assert abs(np.corrcoef(uniforms.T) - np.eye(4)).max() < 5 / np.sqrt(4000)


def test_the_stream_is_philox_4x64_and_stable():
    # The generator's words as numpy documents them: the key is (seed, epoch), the counter (block, image, purpose, 0).
    raw = np.random.Philox(key=[11, 5], counter=[0, 9, 0, 0]).random_raw(3)
    assert image_uniforms(11, 5, np.array([9]), 3)[0].tolist() == [int(word) / 2**64 for word in raw >> 11 << 11]
    assert epoch_order(0, 0, 8).tolist() == [1, 2, 3, 5, 0, 4, 7, 6]


def test_an_epoch_order_is_a_permutation():
    assert sorted(epoch_order(0, 5, 1000)) == list(range(1000))


def test_epochs_and_seeds_have_different_orders():
    orders = {tuple(epoch_order(seed, epoch, 20)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_a_step_seed_differs_for_every_seed_step_and_process():
    seeds = {step_seed(seed, step, process) for seed in range(5) for step in range(5) for process in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_named_generator_is_a_function_of_its_words():
    assert named_generator("a.png", "fog", 3).random() == named_generator("a.png", "fog", 3).random()
    others = [("a.png", "fog", 4), ("a.pngfog", 3), ("fog", "a.png", 3), ("a.png", "fog", "3")]
    assert named_generator("a.png", "fog", 3).random() not in [named_generator(*words).random() for words in others]


def test_the_key_of_a_named_generator_is_a_digest_of_its_words():
    key = hashlib.blake2b(b'[0, "a.png"]', digest_size=16).digest()
    expected = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(3)
    assert (named_generator(0, "a.png").bit_generator.random_raw(3) == expected).all()
