"""The report of a comparison of trained models."""

import re
from dataclasses import replace

import pytest

from mixlab.comparison.compare_page import compare_page
from mixlab.comparison.recommendation import round_bound
from mixlab.comparison.settings import ComparisonSettings

CLEAR = {"mixer_nano": 92.0, "davit_nano": 98.0}
CLOSE = {"mixer_nano": 97.0, "davit_nano": 97.4}


def text_of(html: str) -> str:
    """The visible text, in one line with plain spaces."""
    body = re.sub(r"<wbr>", "", html.partition("<body>")[2])
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("\N{NO-BREAK SPACE}", " ").split())


def test_the_recommendation_comes_first_with_its_uncertainty_and_cost(make_comparison):
    comparison = make_comparison(CLEAR)
    conclusion = text_of(compare_page(comparison).html()).partition("Results")[0]
    assert comparison.conclusion in conclusion
    assert comparison.detectable in conclusion
    assert re.search(r"Top-1 of davit_nano 9[78]\.\d % 95 %: [\d.]+ to [\d.]+, n = 3", conclusion)
    assert "Behind the best, at most 0.00 points" in conclusion
    assert "Inference speed" in conclusion
    assert "Time of one training" in conclusion


def test_the_bounds_are_a_figure_with_the_margin_and_the_unstable_models(make_comparison):
    comparison = make_comparison(CLOSE)
    vars(comparison)["ranking"] = replace(comparison.ranking, unstable=("mixer_nano",))
    html = compare_page(comparison).html()
    bounds = {name: f"{round_bound(points):.2f}" for name, points in comparison.ranking.behind.items()}
    alt = f"davit_nano {bounds['davit_nano']}; mixer_nano {bounds['mixer_nano']} unstable."
    assert f'aria-label="Behind the best, at most (points): {alt}"' in html
    assert "margin 1.00" in html


def test_the_page_has_all_sections_and_figures(make_comparison):
    html = compare_page(make_comparison(CLEAR)).html()
    assert re.findall(r"<h2>([^<]*)</h2>", html) == [
        "Results",
        "Significance",
        "Cost",
        "Learning curves",
        "Errors of davit_nano",
        "Run details",
    ]
    assert re.findall(r"<h3>([^<]*)</h3>", html) == [
        *("2 models on digits, evaluated on 200 test images", "Behind the best, at most"),
        *("Accuracy by seed", "Pairwise differences", "All pairs"),
        *("Accuracy against cost", "Training cost and compute modes"),
        "Training loss",
        *("Confusion matrix", "Most confident errors"),
    ]


def test_the_accuracy_figure_shows_the_baselines(make_comparison):
    html = compare_page(make_comparison(CLEAR)).html()
    assert "1-nearest neighbour 90.0 [" in html
    assert "majority class 10.0 [" in html


def test_every_seed_has_a_learning_curve(make_comparison):
    html = compare_page(make_comparison(CLEAR, seeds=4, epochs=3)).html()
    assert "davit_nano: Training loss (nats) by epoch, n = 4 seeds" in html
    assert "the loss on augmented training images" in html


def test_colours_follow_the_order_of_the_user_everywhere(make_comparison):
    html = compare_page(make_comparison(CLEAR)).html()  # davit_nano was named second and is ranked first
    marks = re.findall(r'<svg class="mark".*?fill: var\(--([a-z]+)\)"/></svg>([a-z_]+)', html)
    assert set(marks) == {("blue", "mixer_nano"), ("vermilion", "davit_nano")}
    panels = re.findall(r'<svg class="panel".*?</svg>', html, re.DOTALL)
    drawn = [re.findall(r"fill: var\(--(blue|vermilion)\)", panel) for panel in panels]
    first = [colours[0] for colours in drawn if colours]
    assert first == ["blue"] + ["vermilion"] * 5 + [
        "blue"
    ]  # bounds (0 has no bar), accuracy by seed, three costs, the curves of each model


def test_accuracy_is_plotted_against_speed_training_cost_and_size(make_comparison):
    html = compare_page(make_comparison(CLEAR)).html()
    for cost in ("Inference (images/s)", "One training (device seconds)", "Parameters (M)"):
        assert f'aria-label="Top-1 (%) against {cost}' in html


def test_the_most_confident_errors_of_the_first_seed_come_first(make_comparison):
    comparison = make_comparison(CLEAR, n_images=300)
    html = compare_page(comparison).html()
    evaluation = comparison["davit_nano"].trained[0].evaluation
    wrong = ~evaluation.correct
    highest = evaluation.confidences[wrong].max()
    figure = html.partition('<figure class="gallery">')[2]
    shown = [float(share) for share in re.findall(r"<p>([\d.]+) %</p>", figure)]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == min(12, wrong.sum())
    assert shown[0] == pytest.approx(100 * highest, abs=0.06)


def test_the_confusion_matrix_is_that_of_the_recommended_model(make_comparison):
    comparison = make_comparison(CLEAR)
    wrong = (~comparison["davit_nano"].scores).sum()
    assert f"{wrong} of 600 predictions are wrong" in compare_page(comparison).html()


def test_a_model_without_errors_is_reported_as_such(make_comparison):
    html = compare_page(make_comparison({"mixer_nano": 100.0, "davit_nano": 60.0}, n_images=60)).html()
    assert "0 of 60 test images are wrong" in text_of(html)


def test_names_may_be_unicode_and_are_escaped(make_comparison):
    html = compare_page(make_comparison(CLEAR, classes=["고양이", "<b>개</b>"], data="folder:/tmp/<i>pets</i>")).html()
    assert "고양이" in text_of(html)
    assert "<b>개" not in html
    assert "<i>pets" not in html


def test_the_run_details_have_each_recipe_and_the_model_it_was_tuned_for(make_comparison):
    html = compare_page(make_comparison(CLEAR, recipes={"davit_nano": "digits_davit"})).html()
    assert "davit_nano: recipe digits_davit, tuned for davit_nano" in text_of(html)
    assert "model = &quot;davit_nano&quot;" in html
    assert "learning_rate = " in html


def test_the_run_details_have_versions_device_commit_counts_and_data_notes(make_comparison):
    comparison = make_comparison(CLEAR, notes=["3 duplicates were kept in one split."])
    details = text_of(compare_page(comparison).html()).partition("Run details")[2]
    for fact in (
        "3 duplicates were kept in one split.",
        "a test processor, 2 cores, 1 thread, 8 GiB",
        "torch 2.15.0",
        "0123456789abcdef",
        comparison.dataset.fingerprint,
        "10 classes, 200 train, 200 test images",
    ):
        assert fact in details


@pytest.mark.parametrize(
    ("settings", "budget", "options"),
    [
        (ComparisonSettings(seeds=3), "3 seeds of each model, 4 epochs", "--seeds 3 --margin 1"),
        (ComparisonSettings(seeds=3, epochs=4), "4 epochs", "--seeds 3 --epochs 4 --margin 1"),
        (
            ComparisonSettings(seeds=3, minutes=2.5),
            "2.5 minutes for the whole comparison, shared equally",
            "--minutes 2.5 --margin 1",
        ),
        (
            ComparisonSettings(seeds=3, match="seconds"),
            "as many seconds of training as mixer_nano",
            "--match seconds --margin 1",
        ),
        (
            ComparisonSettings(seeds=3, match="macs"),
            "4 epochs; widths scaled to the macs of mixer_nano",
            "--match macs --margin 1",
        ),
        (ComparisonSettings(seeds=3, image_size=(32, 48)), "4 epochs", "--image-size 32x48 --margin 1"),
    ],
)
def test_the_run_details_have_the_budget_and_the_command(make_comparison, settings, budget, options):
    html = compare_page(replace(make_comparison(CLEAR), settings=settings)).html()
    assert budget in text_of(html)
    (command,) = re.findall(r"<code>(mixlab compare [^<]*)</code>", html)
    assert command.startswith("mixlab compare --data digits --models mixer_nano,davit_nano --seeds 3")
    assert command.endswith(options)


def test_a_path_with_spaces_is_quoted_in_the_command(make_comparison):
    html = compare_page(make_comparison(CLEAR, data="folder:/tmp/my pets")).html()
    assert "--data &#x27;folder:/tmp/my pets&#x27;" in html


def test_the_table_of_many_pairs_is_collapsed(make_comparison):
    html = compare_page(make_comparison({f"model_{index}": 97.0 - index for index in range(8)}, seeds=2)).html()
    assert "<summary>The 28 pairs as a table</summary>" in html


@pytest.mark.parametrize("classes", [2, 40])
def test_the_page_supports_few_and_many_classes(make_comparison, classes):
    html = compare_page(
        make_comparison(CLEAR, seeds=1, epochs=1, classes=[f"class {index}" for index in range(classes)])
    ).html()
    assert "Confusion matrix" in html
