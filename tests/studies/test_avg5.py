"""Avg-5: its datasets as published."""

from mixlab.studies.avg5 import TASKS


def test_the_five_datasets_are_those_of_the_paper():
    names = ["ImageNet", "CIFAR-10", "CIFAR-100", "Pets", "Flowers-102"]
    sources = ["imagenet2012", "cifar10", "cifar100", "oxford_iiit_pet", "oxford_flowers102"]
    assert [task.name for task in TASKS] == names
    assert [task.source for task in TASKS] == sources


def test_no_test_image_is_used_for_training_or_validation():
    for task in TASKS:
        assert task.test not in (task.train, task.validation)
        assert task.train.partition("[")[0] == "train"
