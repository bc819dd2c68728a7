"""Class names of published heads, with and without timm."""

import sys

import pytest

from mixlab.zoo.class_names import class_names, names_need_timm, synsets


def test_imagenet_classes_have_names_and_identifiers():
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    names = class_names("imagenet-1k", 1000)
    assert names is not None and not names_need_timm("imagenet-1k")
    assert (names[0], names[5], len(set(names))) == ("tench", "electric ray", 1000)
    assert {name for name in names if name.startswith("crane")} == {"crane (134)", "crane (517)"}
    from timm.data.imagenet_info import ImageNetInfo

    assert synsets("imagenet-1k") == tuple(ImageNetInfo("imagenet-1k").label_names())


@pytest.mark.parametrize(("labels", "classes"), [("imagenet-21k", 21843), ("imagenet-21k-p", 11221)])
def test_the_large_tables_have_a_name_for_every_class(labels, classes):
    pytest.importorskip("timm", reason='needs timm: pip install "mixlab[baselines]"')
    names = class_names(labels, classes)
    assert names is not None
    assert len(set(names)) == classes == len(synsets(labels))


def test_a_label_set_without_a_table_has_no_names():
    assert class_names("none", 3) is None
    assert synsets("none") == ()
    assert not names_need_timm("none")


def test_without_timm_only_the_identifiers_of_imagenet_1k_are_known(monkeypatch):
    for module in ["timm", *(name for name in sys.modules if name.startswith("timm."))]:
        monkeypatch.setitem(sys.modules, module, None)  # makes the import fail
    assert class_names("imagenet-1k", 1000) is None
    assert len(synsets("imagenet-1k")) == 1000
    assert synsets("imagenet-21k") == ()
    assert names_need_timm("imagenet-1k")
    assert not names_need_timm("none")
