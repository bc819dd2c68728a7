import json
from dataclasses import replace

import pytest

from mixlab.comparison.comparison_tables import choice_table, costs_table, pairs_table, tables
from mixlab.report.table import print_table, render
from mixlab.training.recipes.recipe_files import read_recipe

CLOSE = {"mixer_nano": 97.0, "davit_nano": 97.4, "vit_nano": 91.0}  # each answers slower than the one before it
CLEAR = {"mixer_nano": 92.0, "davit_nano": 98.0}
LONG = "timm:vit_tiny_patch16_224:img_size=32:patch_size=4"


def test_a_model_is_recommended_if_its_interval_against_every_other_excludes_0(invent):
    comparison = invent(CLEAR)
    assert comparison.ranking.recommended == "davit_nano"
    assert comparison.ranking.pairs[0].difference.low > 0
    accuracy = f"{comparison['davit_nano'].top1.value:.1f} %"
    assert comparison.answer == (
        f"Take davit_nano: it had {accuracy} of the test images right, and its lead over every other model is more "
        "than chance."
    )


def test_models_that_are_not_told_apart_leave_the_cheapest_of_them(invent):
    comparison = invent(CLOSE)
    assert comparison.ranking.recommended is None
    assert comparison.answer.startswith(
        "davit_nano and mixer_nano are not told apart: take the cheapest of these, mixer_nano, which answers 5,9"
    )


def test_the_closest_pair_is_the_taken_model_and_the_best_that_it_is_weighed_against(invent):
    close, clear = (
        invent(CLOSE).recommendation.closest_pair,
        invent({**CLEAR, "vit_nano": 85.0}).recommendation.closest_pair,
    )
    assert (close.a, close.b) == ("davit_nano", "mixer_nano")
    assert (clear.a, clear.b) == ("davit_nano", "mixer_nano")


def test_the_taken_model_is_not_weighed_against_one_that_was_told_apart(invent):
    comparison = invent(CLOSE)
    leaders = ("davit_nano", "vit_nano")  # the second best had steadier seeds, say
    vars(comparison)["ranking"] = replace(comparison.ranking, leaders=leaders)
    closest_pair = comparison.recommendation.closest_pair
    assert (closest_pair.a, closest_pair.b) == ("davit_nano", "vit_nano")


def test_a_model_that_a_baseline_beats_is_not_praised(invent):
    assert "But the yardstick 1-nearest neighbour had 90.0 %: train longer" in invent({"a": 60.0, "b": 30.0}).answer
    assert "yardstick" not in invent(CLEAR).answer


def test_what_could_have_been_noticed_is_a_sentence(invent):
    comparison = invent(CLOSE)
    assert f"truly been {comparison.ranking.detectable:.1f} points better" in comparison.detectable


def test_a_comparison_that_sees_nothing_says_so(invent):
    comparison = invent(CLOSE)
    vars(comparison)["ranking"] = replace(comparison.ranking, detectable=2_000.0)
    assert "hardly any difference could have been told from chance" in comparison.detectable


def test_accuracies_are_ranked_but_names_keep_the_users_order(invent):
    comparison = invent(CLEAR)
    assert comparison.names == ["mixer_nano", "davit_nano"]
    assert [result.name for result in comparison.ranked] == ["davit_nano", "mixer_nano"]


def test_a_confusion_matrix_is_summed_over_the_seeds(invent):
    mixer = invent(CLEAR, seeds=3, n_images=200)["mixer_nano"]
    assert mixer.confusion.sum() == 3 * 200
    assert mixer.confusion.trace() == mixer.correct.sum()


def test_training_macs_are_three_forward_passes_a_image(invent):
    mixer = invent(CLEAR, n_images=200, epochs=4)["mixer_nano"]
    assert mixer.training_macs == 3 * 20_000_000 * 4 * 200


def test_results_have_the_agreed_keys(invent):
    results = invent(CLOSE).results()
    assert list(results) == [
        *("schema", "data", "budget", "commit", "device"),
        *("models", "yardsticks", "pairs", "detectable", "recommended"),
    ]
    assert list(results["models"]) == list(CLOSE)
    assert list(results["models"]["mixer_nano"]) == [
        *("top1", "mean", "sd", "n", "images_per_second", "train_images_per_second"),
        *("training_device_seconds", "training_macs", "parameters", "macs", "peak_bytes"),
    ]
    assert list(results["pairs"][0]) == ["a", "b", "difference", "low", "high", "p_holm"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_results_are_strict_json(invent, seeds):
    results = invent(CLOSE, seeds=seeds).results()
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_results_hold_one_accuracy_a_seed_and_their_mean(invent):
    model = invent(CLOSE, seeds=3).results()["models"]["davit_nano"]
    assert len(model["top1"]) == model["n"] == 3
    assert model["mean"] == pytest.approx(sum(model["top1"]) / 3)


def test_the_choice_table_ends_in_the_baselines(invent):
    rows = choice_table(invent(CLOSE)).rows
    assert [row["model"] for row in rows] == [
        *("davit_nano", "mixer_nano", "vit_nano"),
        *("majority class", "1-nearest neighbour"),
    ]


def test_tables_say_what_the_small_foreign_models_are(invent):
    notes = choice_table(invent({"resnet_nano": 97.0, "vit_nano": 96.0})).notes
    assert "resnet_nano is timm's ResNet with a 3x3 stem of stride 1 and no max-pool." in notes
    assert "vit_nano is timm's VisionTransformer with patch 4." in notes
    assert not any("timm" in note for note in choice_table(invent(CLEAR)).notes)


def test_borrowed_settings_are_named(invent):
    own = {name: f"digits_{name.removesuffix('_nano')}" for name in CLEAR}
    assert all(read_recipe(recipe)["model"] == name for name, recipe in own.items())
    assert "another model" not in " ".join(choice_table(invent(CLEAR, recipes=own)).notes)
    notes = choice_table(invent({LONG: 97.0, **CLEAR}, recipes={**own, LONG: "digits_vit"})).notes
    assert any(f"those of {LONG} were tuned for another model" in note for note in notes)


def test_peak_memory_says_whose_it_is(invent):
    comparison = invent(CLEAR)
    on_gpu = replace(comparison, environment=comparison.environment | {"device_type": "cuda"})
    assert "PyTorch itself included" in render(costs_table(comparison), "table")
    assert "of the tensors on the GPU" in render(costs_table(on_gpu), "table")


def test_a_batch_that_went_through_in_parts_is_said(invent):
    comparison = invent(CLEAR)
    mixer = comparison["mixer_nano"]
    halved = replace(mixer, plan=replace(mixer.plan, micro_batch=16))
    table = costs_table(replace(comparison, model_results=(halved, comparison["davit_nano"])))
    assert [row["trained_in"] for row in table.rows] == ["fp32, contiguous", "fp32, contiguous, 16 of 64 at once"]


@pytest.mark.parametrize(
    ("seeds", "said"),
    [(1, "over test images alone"), (2, "false alarms come more often"), (3, "over seeds and test images.")],
)
def test_the_pairs_say_what_their_intervals_cover(invent, seeds, said):
    (note,) = pairs_table(invent(CLOSE, seeds=seeds)).notes
    assert said in note


def test_the_table_of_pairs_says_which_are_told_apart(invent):
    rows = pairs_table(invent(CLOSE)).rows
    assert [(row["a"], row["b"], row["ranking"]) for row in rows] == [
        ("davit_nano", "mixer_nano", "not told apart"),
        ("davit_nano", "vit_nano", "told apart"),
        ("mixer_nano", "vit_nano", "told apart"),
    ]


def test_the_tables_fit_a_terminal_of_a_hundred_columns(invent, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for a terminal
    monkeypatch.setenv("COLUMNS", "100")
    for table in tables(invent({"convmixer_nano": 97.1, "mixer_nano": 96.2, "resnet_nano": 95.0})):
        print_table(table)
    shown = capsys.readouterr().out
    for whole in ("convmixer_nano", "(n = 3)", "bf16, channels last", "not told apart"):
        assert whole in shown


def test_a_folder_is_titled_by_its_last_name(invent):
    comparison = invent(CLEAR, data="folder:/home/somebody/pets")
    assert comparison.title == "2 models on pets, judged on 200 test images"
