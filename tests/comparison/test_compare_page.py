import re
from dataclasses import replace

import pytest

from mixlab.comparison.compare_page import compare_page
from mixlab.comparison.settings import ComparisonSettings

CLEAR = {"mixer_nano": 92.0, "davit_nano": 98.0}
CLOSE = {"mixer_nano": 97.0, "davit_nano": 97.4}


def text_of(html: str) -> str:
    """What a reader sees, in one line with plain spaces."""
    body = re.sub(r"<wbr>", "", html.partition("<body>")[2])
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("\N{NO-BREAK SPACE}", " ").split())


def test_the_answer_comes_first_with_its_uncertainty_and_its_costs(invent):
    comparison = invent(CLEAR)
    answer = text_of(compare_page(comparison).html()).partition("What to choose by")[0]
    assert comparison.answer in answer
    assert comparison.detectable in answer
    assert re.search(r"Top-1 of davit_nano 9[78]\.\d % 95 %: [\d.]+ to [\d.]+, n = 3", answer)
    assert re.search(r"Ahead of mixer_nano [\d.]+ points 95 %: [\d.]+ to [\d.]+, n = 6", answer)
    assert "It answers" in answer
    assert "One training of it" in answer


def test_a_model_that_is_taken_for_its_speed_says_how_far_it_lies_behind(invent):
    answer = text_of(compare_page(invent(CLOSE)).html()).partition("What to choose by")[0]
    assert "chance alone could have made it" in answer
    assert re.search(r"Behind davit_nano [\d.]+ points", answer)


def test_everything_that_was_asked_for_has_its_section(invent):
    html = compare_page(invent(CLEAR)).html()
    assert re.findall(r"<h2>([^<]*)</h2>", html) == [
        "What to choose by",
        "More than chance?",
        "What it costs",
        "How they learned",
        "Where davit_nano errs",
        "What ran",
    ]
    assert re.findall(r"<h3>([^<]*)</h3>", html) == [
        "2 models on digits, judged on 200 test images",
        *("Every training", "Every pair", "All pairs"),
        *("Accuracy against cost", "What a training costs, and how it ran"),
        "Training loss",
        *("What is taken for what", "Most confidently wrong"),
    ]


def test_the_baselines_stand_in_the_figure_of_accuracies(invent):
    html = compare_page(invent(CLEAR)).html()
    assert "1-nearest neighbour 90.0 [" in html
    assert "majority class 10.0 [" in html


def test_every_seed_has_its_learning_curve(invent):
    html = compare_page(invent(CLEAR, seeds=4, epochs=3)).html()
    assert "davit_nano: Training loss (nats) by epoch, n = 4 seeds" in html
    assert "the loss on augmented training images" in html


def test_a_model_has_the_colour_of_its_place_in_the_users_order_everywhere(invent):
    html = compare_page(invent(CLEAR)).html()  # davit_nano was named second, and leads
    marks = re.findall(r'<svg class="mark".*?fill: var\(--([a-z]+)\)"/></svg>([a-z_]+)', html)
    assert set(marks) == {("blue", "mixer_nano"), ("vermilion", "davit_nano")}
    panels = re.findall(r'<svg class="panel".*?</svg>', html, re.DOTALL)
    drawn = [re.findall(r"fill: var\(--(blue|vermilion)\)", panel) for panel in panels]
    first = [colours[0] for colours in drawn if colours]
    assert first == ["vermilion"] * 5 + ["blue"]  # every training, three costs, the curves of either model


def test_accuracy_is_drawn_against_speed_training_cost_and_size(invent):
    html = compare_page(invent(CLEAR)).html()
    for cost in ("Inference (images/s)", "One training (device seconds)", "Parameters (M)"):
        assert f'aria-label="Top-1 (%) against {cost}' in html


def test_the_surest_mistakes_come_first_by_the_mean_of_the_seeds(invent):
    comparison = invent(CLEAR, n_images=300)
    html = compare_page(comparison).html()
    mean = comparison["davit_nano"].mean_probabilities
    wrong = mean.argmax(axis=1) != comparison.dataset.splits["test"].labels
    surest = mean.max(axis=1)[wrong].max()
    figure = html.partition('<figure class="gallery">')[2]
    shown = [float(share) for share in re.findall(r"<p>([\d.]+) %</p>", figure)]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == min(12, wrong.sum())
    assert shown[0] == pytest.approx(100 * surest, abs=0.06)


def test_the_confusion_matrix_is_the_taken_models(invent):
    comparison = invent(CLEAR)
    wrong = (~comparison["davit_nano"].correct).sum()
    assert f"{wrong} of 600 predictions are wrong" in compare_page(comparison).html()


def test_a_model_without_a_mistake_has_a_sentence_for_it(invent):
    html = compare_page(invent({"mixer_nano": 100.0, "davit_nano": 60.0}, n_images=60)).html()
    assert "0 of 60 test images are wrong" in text_of(html)


def test_class_names_in_hangul_show_and_html_in_names_is_text(invent):
    html = compare_page(invent(CLEAR, classes=["고양이", "<b>개</b>"], data="folder:/tmp/<i>pets</i>")).html()
    assert "고양이" in text_of(html)
    assert "<b>개" not in html
    assert "<i>pets" not in html


def test_what_ran_has_each_recipe_as_toml_and_whose_it_is(invent):
    html = compare_page(invent(CLEAR, recipes={"davit_nano": "digits_davit"})).html()
    assert "davit_nano: recipe digits_davit, tuned for davit_nano" in text_of(html)
    assert "model = &quot;davit_nano&quot;" in html
    assert "learning_rate = " in html


def test_what_ran_has_versions_device_commit_counts_and_the_datas_own_notes(invent):
    comparison = invent(CLEAR, notes=["3 duplicates were put on one side."])
    ran = text_of(compare_page(comparison).html()).partition("What ran")[2]
    for fact in (
        "3 duplicates were put on one side.",
        "an invented processor, 2 cores, 1 thread, 8 GiB",
        "torch 2.15.0",
        "0123456789abcdef",
        comparison.dataset.fingerprint,
        "10 classes, 200 train, 200 test images",
    ):
        assert fact in ran


@pytest.mark.parametrize(
    ("settings", "budget", "options"),
    [
        (ComparisonSettings(seeds=3), "3 seeds of each model, 4 epochs", "--seeds 3"),
        (ComparisonSettings(seeds=3, epochs=4), "4 epochs", "--seeds 3 --epochs 4"),
        (
            ComparisonSettings(seeds=3, minutes=2.5),
            "2.5 minutes for the whole comparison, shared equally",
            "--minutes 2.5",
        ),
        (
            ComparisonSettings(seeds=3, match="seconds"),
            "as many seconds of training as mixer_nano took",
            "--match seconds",
        ),
        (
            ComparisonSettings(seeds=3, match="macs"),
            "4 epochs; widths scaled to the macs of mixer_nano",
            "--match macs",
        ),
        (ComparisonSettings(seeds=3, image_size=(32, 48)), "4 epochs", "--image-size 32x48"),
    ],
)
def test_what_ran_says_the_budget_and_the_command_to_run_it_again(invent, settings, budget, options):
    html = compare_page(replace(invent(CLEAR), settings=settings)).html()
    assert budget in text_of(html)
    (command,) = re.findall(r"<code>(mixlab compare [^<]*)</code>", html)
    assert command.startswith("mixlab compare --data digits --models mixer_nano,davit_nano --seeds 3")
    assert command.endswith(options)


def test_a_path_with_spaces_is_quoted_in_the_command(invent):
    html = compare_page(invent(CLEAR, data="folder:/tmp/my pets")).html()
    assert "--data &#x27;folder:/tmp/my pets&#x27;" in html


def test_many_pairs_are_folded_away_as_a_table(invent):
    html = compare_page(invent({f"model_{place}": 97.0 - place for place in range(8)}, seeds=2)).html()
    assert "<summary>The 28 pairs as a table</summary>" in html


@pytest.mark.parametrize("classes", [2, 40])
def test_a_page_is_written_for_few_and_for_many_classes(invent, classes):
    html = compare_page(invent(CLEAR, seeds=1, epochs=1, classes=[f"class {index}" for index in range(classes)])).html()
    assert "What is taken for what" in html
