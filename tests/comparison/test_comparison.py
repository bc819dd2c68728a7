"""A comparison of trained models: recommendation, tables and results.json."""

import json
from dataclasses import replace

import pytest

from mixlab.comparison.comparison_tables import choice_table, costs_table, pairs_table, tables
from mixlab.report.table import print_table, render
from mixlab.training.recipes.recipe_files import read_recipe

CLOSE = {"mixer_nano": 97.0, "davit_nano": 97.4, "vit_nano": 91.0}  # each is slower than the one before it
CLEAR = {"mixer_nano": 92.0, "davit_nano": 98.0}
LONG = "timm:vit_tiny_patch16_224:img_size=32:patch_size=4"


def test_a_model_is_recommended_if_its_interval_against_every_other_model_excludes_0(make_comparison):
    comparison = make_comparison(CLEAR)
    assert comparison.ranking.recommended == "davit_nano"
    assert comparison.ranking.pairs[0].difference.low > 0
    accuracy = f"{comparison['davit_nano'].top1.value:.1f} %"
    assert comparison.conclusion == (
        f"Use davit_nano: it classifies {accuracy} of the test images correctly, significantly more than every other "
        "model."
    )


def test_the_fastest_of_two_tied_models_is_recommended(make_comparison):
    comparison = make_comparison(CLOSE)
    assert comparison.ranking.recommended is None
    accuracy = f"{comparison['mixer_nano'].top1.value:.1f} %"
    assert comparison.conclusion.startswith(
        "The difference between davit_nano and mixer_nano is not significant. Use mixer_nano, the fastest of these: it "
        f"classifies {accuracy} of the test images correctly and processes 5,9"
    )


def test_models_tied_with_the_best_are_named(make_comparison):
    comparison = make_comparison(CLOSE)
    leaders = ("davit_nano", "mixer_nano", "vit_nano")
    vars(comparison)["ranking"] = replace(comparison.ranking, leaders=leaders)
    assert comparison.conclusion.startswith(
        "mixer_nano and vit_nano are tied with the best, davit_nano: the differences are not significant. "
        "Use mixer_nano, the fastest of these"
    )


def test_the_closest_pair_is_the_recommended_model_and_its_strongest_rival(make_comparison):
    close, clear = (
        make_comparison(CLOSE).recommendation.closest_pair,
        make_comparison({**CLEAR, "vit_nano": 85.0}).recommendation.closest_pair,
    )
    assert (close.a, close.b) == ("davit_nano", "mixer_nano")
    assert (clear.a, clear.b) == ("davit_nano", "mixer_nano")


def test_the_closest_pair_of_a_tie_contains_only_tied_models(make_comparison):
    comparison = make_comparison(CLOSE)
    leaders = ("davit_nano", "vit_nano")  # as if the seeds of the second best model had a smaller spread
    vars(comparison)["ranking"] = replace(comparison.ranking, leaders=leaders)
    closest_pair = comparison.recommendation.closest_pair
    assert (closest_pair.a, closest_pair.b) == ("davit_nano", "vit_nano")


def test_the_conclusion_warns_if_a_baseline_is_better(make_comparison):
    assert (
        "But the baseline 1-nearest neighbour reaches 90.0 %: train longer"
        in make_comparison({"a": 60.0, "b": 30.0}).conclusion
    )
    assert "baseline" not in make_comparison(CLEAR).conclusion


def test_the_detectable_difference_is_a_sentence(make_comparison):
    comparison = make_comparison(CLOSE)
    assert f"detects a true difference of {comparison.ranking.detectable:.1f} points" in comparison.detectable


def test_a_comparison_that_can_detect_almost_nothing_advises_more_seeds(make_comparison):
    comparison = make_comparison(CLOSE)
    vars(comparison)["ranking"] = replace(comparison.ranking, detectable=2_000.0)
    assert "hardly any difference could be significant" in comparison.detectable


def test_ranked_is_sorted_by_accuracy_but_names_keep_the_order_of_the_user(make_comparison):
    comparison = make_comparison(CLEAR)
    assert comparison.names == ["mixer_nano", "davit_nano"]
    assert [result.name for result in comparison.ranked] == ["davit_nano", "mixer_nano"]


def test_a_confusion_matrix_is_summed_over_the_seeds(make_comparison):
    mixer = make_comparison(CLEAR, seeds=3, n_images=200)["mixer_nano"]
    assert mixer.confusion.sum() == 3 * 200
    assert mixer.confusion.trace() == mixer.correct.sum()


def test_training_macs_are_three_forward_passes_per_image(make_comparison):
    mixer = make_comparison(CLEAR, n_images=200, epochs=4)["mixer_nano"]
    assert mixer.training_macs == 3 * 20_000_000 * 4 * 200


def test_results_have_the_documented_keys(make_comparison):
    results = make_comparison(CLOSE).results()
    assert list(results) == [
        *("schema", "data", "budget", "commit", "device"),
        *("models", "baselines", "pairs", "detectable", "recommended"),
    ]
    assert list(results["models"]) == list(CLOSE)
    assert list(results["models"]["mixer_nano"]) == [
        *("top1", "mean", "sd", "n", "images_per_second", "train_images_per_second"),
        *("training_device_seconds", "training_macs", "parameters", "macs", "peak_bytes"),
    ]
    assert list(results["pairs"][0]) == ["a", "b", "difference", "low", "high", "p_holm"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_results_are_strict_json(make_comparison, seeds):
    results = make_comparison(CLOSE, seeds=seeds).results()
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_results_contain_the_accuracy_of_each_seed_and_their_mean(make_comparison):
    model = make_comparison(CLOSE, seeds=3).results()["models"]["davit_nano"]
    assert len(model["top1"]) == model["n"] == 3
    assert model["mean"] == pytest.approx(sum(model["top1"]) / 3)


def test_the_choice_table_ends_with_the_baselines(make_comparison):
    rows = choice_table(make_comparison(CLOSE)).rows
    assert [row["model"] for row in rows] == [
        *("davit_nano", "mixer_nano", "vit_nano"),
        *("majority class", "1-nearest neighbour"),
    ]


def test_the_choice_table_describes_the_models_from_timm(make_comparison):
    notes = choice_table(make_comparison({"resnet_nano": 97.0, "vit_nano": 96.0})).notes
    assert "resnet_nano is timm's ResNet with a 3x3 stem of stride 1 and without max-pooling." in notes
    assert "vit_nano is timm's VisionTransformer with a patch size of 4." in notes
    assert not any("timm" in note for note in choice_table(make_comparison(CLEAR)).notes)


def test_models_with_settings_tuned_for_another_model_are_named(make_comparison):
    own = {name: f"digits_{name.removesuffix('_nano')}" for name in CLEAR}
    assert all(read_recipe(recipe)["model"] == name for name, recipe in own.items())
    assert "another model" not in " ".join(choice_table(make_comparison(CLEAR, recipes=own)).notes)
    notes = choice_table(make_comparison({LONG: 97.0, **CLEAR}, recipes={**own, LONG: "digits_vit"})).notes
    assert any(f"those of {LONG} were tuned for another model" in note for note in notes)


def test_the_note_on_peak_memory_depends_on_the_device(make_comparison):
    comparison = make_comparison(CLEAR)
    on_gpu = replace(comparison, environment=comparison.environment | {"device_type": "cuda"})
    assert "including PyTorch itself" in render(costs_table(comparison), "table")
    assert "of the tensors on the GPU" in render(costs_table(on_gpu), "table")


def test_the_training_mode_names_the_micro_batch(make_comparison):
    comparison = make_comparison(CLEAR)
    mixer = comparison["mixer_nano"]
    halved = replace(mixer, plan=replace(mixer.plan, micro_batch=16))
    table = costs_table(replace(comparison, model_results=(halved, comparison["davit_nano"])))
    assert [row["training_mode"] for row in table.rows] == ["fp32, contiguous", "fp32, contiguous, 16 of 64 at once"]


@pytest.mark.parametrize(
    ("seeds", "scope"),
    [(1, "over test images only"), (2, "the false positive rate is higher"), (3, "over seeds and test images.")],
)
def test_the_pairs_table_states_what_its_intervals_cover(make_comparison, seeds, scope):
    (note,) = pairs_table(make_comparison(CLOSE, seeds=seeds)).notes
    assert scope in note


def test_the_pairs_table_states_which_differences_are_significant(make_comparison):
    rows = pairs_table(make_comparison(CLOSE)).rows
    assert [(row["a"], row["b"], row["significance"]) for row in rows] == [
        ("davit_nano", "mixer_nano", "not significant"),
        ("davit_nano", "vit_nano", "significant"),
        ("mixer_nano", "vit_nano", "significant"),
    ]


def test_the_tables_fit_a_terminal_of_a_hundred_columns(make_comparison, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich treat the output as a terminal
    monkeypatch.setenv("COLUMNS", "100")
    for table in tables(make_comparison({"convmixer_nano": 97.1, "mixer_nano": 96.2, "resnet_nano": 95.0})):
        print_table(table)
    output = capsys.readouterr().out
    for unbroken in ("convmixer_nano", "(n = 3)", "bf16, channels last", "not significant"):
        assert unbroken in output


def test_a_folder_is_titled_by_the_last_component_of_its_path(make_comparison):
    comparison = make_comparison(CLEAR, data="folder:/home/somebody/pets")
    assert comparison.title == "2 models on pets, evaluated on 200 test images"
