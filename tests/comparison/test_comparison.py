"""A comparison of trained models: recommendation, tables and results.json."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from mixlab.comparison.comparison import Comparison
from mixlab.comparison.comparison_tables import choice_table, costs_table, pairs_table, tables
from mixlab.comparison.recommendation import round_bound, seeds_or_images_needed
from mixlab.comparison.tasks.classification import summed_confusion
from mixlab.comparison.tuning import Tuning
from mixlab.files import write_json
from mixlab.report.table import print_table, render
from mixlab.stats.sample_size import Needed
from mixlab.training.recipes.recipe_files import read_recipe

CLOSE = {"mixer_nano": 97.0, "davit_nano": 97.4, "vit_nano": 91.0}  # each is slower than the one before it
CLEAR = {"mixer_nano": 92.0, "davit_nano": 98.0}
LONG = "timm:vit_tiny_patch16_224:img_size=32:patch_size=4"


def with_ranking(comparison: Comparison, **fields: object) -> Comparison:
    vars(comparison)["ranking"] = replace(comparison.ranking, **fields)
    return comparison


def test_a_model_that_is_the_best_is_recommended(make_comparison):
    comparison = make_comparison(CLEAR)
    assert comparison.recommendation.recommended == "davit_nano"
    accuracy = f"{comparison['davit_nano'].mean_score.value:.1f} %"
    assert comparison.conclusion == (
        "Use davit_nano: it is better than every other model (95 % confidence; the margin is 1 point). It classifies "
        f"{accuracy} of the test images correctly."
    )


def test_the_fastest_model_within_the_margin_is_recommended(make_comparison):
    comparison = make_comparison(CLOSE, margin=2.5)
    bound = comparison.ranking.behind["mixer_nano"]
    assert comparison.ranking.within_margin == ["davit_nano", "mixer_nano"]
    assert comparison.conclusion.startswith(
        f"Use mixer_nano: it is at most {bound + 0.005:.2f} points behind the best model (95 % confidence; the margin "
        "is 2.5 points). It is the fastest of the 2 models within the margin: 5,9"
    )


def test_a_bound_is_rounded_up():
    assert [round_bound(points) for points in (0.0, 0.291, 0.29, 99.999)] == [0, 0.3, 0.29, 100]


def test_without_a_model_within_the_margin_the_best_observed_and_what_would_decide_are_named(make_comparison):
    comparison = with_ranking(
        make_comparison(CLOSE, margin=0.1), needed=Needed(seeds=5, image_factor=2.71, image_part=0.05)
    )
    assert comparison.recommendation.recommended is None
    assert comparison.chosen.name == "davit_nano"
    bound = comparison.ranking.behind["davit_nano"]
    assert comparison.conclusion.startswith(
        "No model is within 0.1 points of the best with 95 % confidence. Best observed: davit_nano, at most "
        f"{bound + 0.005:.2f} points behind the best model. It classifies "
    )
    assert comparison.conclusion.endswith(
        "About 5 seeds instead of 3 or 550 test images instead of 200 would likely decide."
    )


@pytest.mark.parametrize(
    ("needed", "sentence"),
    [
        (
            Needed(None, 2.0, 1.3),
            "No number of seeds would decide, because the test images alone leave more than the margin. ",
        ),
        (Needed(None, 2.0, 1.3), "1,100 test images instead of 510 would likely decide."),
        (Needed(None, None, 1.3), "Neither would more test images with 3 seeds: use more of both."),
        (Needed(4, None, 0.2), "About 4 seeds instead of 3 would likely decide."),
        (Needed(None, None, 0.2), "100 seeds would probably not decide. Neither would more test images with 3 seeds"),
    ],
)
def test_what_would_decide_is_stated(needed, sentence):
    assert sentence in seeds_or_images_needed(needed, seeds=3, images=510, margin=1.0)


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [
        (1, "With one seed, the bounds do not cover other trainings: use 3 seeds or more."),
        (2, "With 2 seeds, the bounds are wrong too often: use 3 seeds or more."),
    ],
)
def test_with_fewer_than_three_seeds_no_model_is_recommended(make_comparison, seeds, reason):
    comparison = make_comparison(CLEAR, seeds=seeds)
    assert comparison.ranking.within_margin == ["davit_nano"]
    assert comparison.recommendation.recommended is comparison.results()["recommended"] is None
    assert comparison.conclusion.startswith("No model is recommended. Best observed: davit_nano, better than every ")
    assert comparison.conclusion.endswith(reason)


def test_an_unstable_model_is_named_with_this_word_and_not_chosen(make_comparison):
    comparison = with_ranking(make_comparison(CLEAR), unstable=("davit_nano",))
    assert comparison.chosen.name == "mixer_nano"
    assert (
        "The unstable davit_nano has the highest mean accuracy, but its accuracy varies too much over seeds. No model "
        "is within 1 point of the best with 95 % confidence. Best observed of the stable models: mixer_nano, at most "
    ) in comparison.conclusion
    assert comparison.results()["unstable"] == ["davit_nano"]
    rows = {row["model"]: row.get("stability") for row in choice_table(comparison).rows}
    assert (rows["davit_nano"], rows["mixer_nano"]) == ("unstable", "stable")
    assert any(note.startswith("Unstable: the accuracy varies") for note in choice_table(comparison).notes)


def test_the_choice_table_has_the_bounds_rounded_up(make_comparison):
    comparison = make_comparison(CLOSE)
    table = choice_table(comparison)
    assert [column.head for column in table.columns][2] == "behind, at most (points)"
    assert table.rows[0]["behind"] == round_bound(comparison.ranking.behind["davit_nano"])
    assert "stability" not in table.rows[-1] and all(column.key != "stability" for column in table.columns)


@pytest.mark.parametrize(
    ("accuracies", "warning"),
    [
        ({"a": 60.0, "b": 30.0}, "The baseline 1-nearest neighbour is at least as good as a (90.0 % and "),
        ({"a": 90.5, "b": 30.0}, "The baseline 1-nearest neighbour is within 1 point of a (90.0 % and "),
    ],
)
def test_a_baseline_within_the_margin_comes_first(make_comparison, accuracies, warning):
    conclusion = make_comparison(accuracies).conclusion
    assert conclusion.startswith(warning)
    assert "%): train longer before you choose a model. Use a: " in conclusion


def test_a_baseline_below_the_margin_is_not_mentioned(make_comparison):
    assert "baseline" not in make_comparison(CLEAR).conclusion


def test_the_detectable_difference_is_a_sentence(make_comparison):
    comparison = make_comparison(CLOSE)
    assert f"detects a true difference of {comparison.ranking.detectable:.1f} points" in comparison.detectable


@pytest.mark.parametrize(("seeds", "advice"), [(2, "train with 3 seeds or more."), (3, "use more test images.")])
def test_a_comparison_that_can_detect_almost_nothing_has_advice(make_comparison, seeds, advice):
    comparison = make_comparison(CLOSE, seeds=seeds)
    vars(comparison)["ranking"] = replace(comparison.ranking, detectable=2_000.0)
    assert comparison.detectable.endswith(f"hardly any difference could be significant: {advice}")


def test_ranked_is_sorted_by_accuracy_but_names_keep_the_order_of_the_user(make_comparison):
    comparison = make_comparison(CLEAR)
    assert comparison.names == ["mixer_nano", "davit_nano"]
    assert [result.name for result in comparison.ranked] == ["davit_nano", "mixer_nano"]


def test_a_confusion_matrix_is_summed_over_the_seeds(make_comparison):
    mixer = make_comparison(CLEAR, seeds=3, n_images=200)["mixer_nano"]
    assert summed_confusion(mixer).sum() == 3 * 200
    assert summed_confusion(mixer).trace() == mixer.scores.sum()


def test_training_macs_are_three_forward_passes_per_image(make_comparison):
    mixer = make_comparison(CLEAR, n_images=200, epochs=4)["mixer_nano"]
    assert mixer.training_macs == 3 * 20_000_000 * 4 * 200


def test_results_have_the_documented_keys(make_comparison):
    results = make_comparison(CLOSE).results()
    assert list(results) == [
        *("schema", "data", "budget", "commit", "device", "environment"),
        *("models", "baselines", "pairs", "detectable"),
        *("margin", "behind", "unstable", "recommended", "training_seconds", "plans"),
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


def test_the_note_on_the_settings_calls_sounds_sounds(make_comparison):
    comparison = make_comparison(CLEAR, data="audio:tones")
    comparison = replace(comparison, dataset=replace(comparison.dataset, noun="sound"))
    assert any(", on the digits and not on sounds like these" in note for note in choice_table(comparison).notes)
    settings = replace(comparison.compared, settings_note="")
    tuned = replace(comparison, compared=settings, tunings=(Tuning(None, (None, None)),))  # pyright: ignore
    assert (
        "The settings of each model are the best of 2 random trials on the training sounds."
        in choice_table(tuned).notes
    )


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


@pytest.mark.parametrize("kind", ["csv", "masks", "text"])
def test_a_file_is_titled_by_its_name(make_comparison, kind):
    comparison = make_comparison(CLEAR, data=f"{kind}:/home/somebody/pets.csv")
    assert comparison.title == "2 models on pets.csv, evaluated on 200 test images"


def test_a_folder_is_titled_by_the_last_component_of_its_path(make_comparison):
    comparison = make_comparison(CLEAR, data="folder:/home/somebody/pets")
    assert comparison.title == "2 models on pets, evaluated on 200 test images"


def test_a_stored_comparison_has_a_page_like_a_study(make_comparison, tmp_path):
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "study_pages.py"))
    comparison = make_comparison(CLEAR, seeds=3)
    described = {"title": "Which model?", "command": "mixlab compare", "date": "2026-11-30", "summary": "Use it."}
    results = comparison.results() | described | {"notes": ["A note."], "tables": []}
    write_json(tmp_path / "found" / "results.json", results)
    page = script["page"](tmp_path / "found")
    assert page.startswith("# Which model?\n\nUse it.\n\n```\nmixlab compare\n```\n")
    assert f"- Data: {comparison.dataset.name}\n- Trainings: 6 trainings of " in page
    assert "- Precision of the trainings: fp32\n" in page and page.endswith("A note.\n")
    assert "| [found](found.md) | Which model? |" in script["index"]([tmp_path / "found"]).splitlines()[-1]
