"""The classes of published heads, by timm's tables where it is installed."""

import builtins

import pytest

from mixlab.zoo.class_names import class_names, indices, synsets


def test_imagenet_s_classes_have_names_and_identifiers():
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    names = class_names("imagenet-1k", 1000)
    assert (names[0], names[5], len(set(names))) == ("tench", "electric ray", 1000)
    assert {name for name in names if name.startswith("crane")} == {"crane (134)", "crane (517)"}
    assert synsets("imagenet-1k")[0] == "n01440764"


@pytest.mark.parametrize(("labels", "classes"), [("imagenet-21k", 21843), ("imagenet-21k-p", 11221)])
def test_the_large_tables_have_as_many_names_as_the_heads_have_classes(labels, classes):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    assert len(set(class_names(labels, classes))) == classes == len(synsets(labels))


def test_a_head_of_nobody_known_has_indices():
    assert class_names("none", 3) == ("0", "1", "2")
    assert synsets("none") == ()


def test_without_timm_classes_are_indices(monkeypatch):
    real = builtins.__import__

    def without_timm(name, *arguments, **keywords):
        if name.startswith("timm"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_timm)
    assert class_names("imagenet-1k", 1000) == indices(1000)
