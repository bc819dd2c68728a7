import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mixlab.report.html_text import html_text
from mixlab.report.image_grid import ConfidentError, ErrorGallery
from mixlab.report.page import Code, Metric
from mixlab.stats.estimate import Estimate

VOID = {"meta", "link", "img", "wbr"}


class BalanceChecker(HTMLParser):
    """Checks that elements are closed in the reverse order of opening."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_all_elements_of_a_page_are_balanced(page):
    parser = BalanceChecker()
    parser.feed(page.html())
    assert parser.open == []


def test_a_page_has_no_external_references(page):
    html = page.html()
    assert "http://" not in html
    assert "https://" not in html
    assert all(target.startswith("data:") for target in re.findall(r'(?:src|href)="([^"]*)"', html))
    assert not re.findall(r"@import|url\(|<script", html)


def test_a_page_has_a_content_security_policy(page):
    assert "default-src 'none'" in page.html()


def test_a_page_has_a_light_and_a_dark_value_for_every_colour_it_uses(page):
    html = page.html()
    light, dark = (set(re.findall(r"--([a-z]+): #", line)) for line in html.splitlines() if "--ground: #" in line)
    used = set(re.findall(r"var\(--([a-z]+)\)", html)) - {"type", "code", "measure", "width"}
    assert used <= light == dark


def test_titles_text_and_code_are_escaped(page):
    html = page.html()
    assert "<title>Which of &lt;three&gt; &amp; why</title>" in html
    assert "model = &quot;&lt;mixer&gt;&quot;" in html
    assert Code("<b>").html() == "<pre><code>&lt;b&gt;</code></pre>"


def test_text_has_code_and_no_break_between_numbers_and_units():
    assert html_text("`a<b` has 97.4 % (n = 3)") == "<code>a&lt;b</code> has 97.4\xa0% (n\xa0=\xa03)"


def test_a_long_name_can_break_after_its_colons():
    assert html_text("timm:vit:img_size=32, then: all") == "timm:<wbr>vit:<wbr>img_size=32, then: all"


@pytest.mark.parametrize(
    ("value", "uncertainty"),
    [
        (Estimate(97.44, 96.7, 98.2, n=3, unit="%"), "95\xa0%: 96.7 to 98.2, n\xa0=\xa03"),
        (Estimate(97.44, None, None, n=1, unit="%"), "n\xa0=\xa01"),
    ],
)
def test_a_metric_shows_its_uncertainty(value, uncertainty):
    assert (
        f'<dd>97.4 <small>%</small></dd><dd class="uncertainty">{uncertainty}</dd>' in Metric("Top-1", value, 1).html()
    )


def test_an_exact_metric_has_no_interval():
    assert "uncertainty" not in Metric("Parameters", Estimate.exact(188_426, "")).html()


def embed(image: np.ndarray) -> tuple[str, Image.Image]:
    html = ErrorGallery("t", [ConfidentError(image, "n", "a", "b", 0.5)]).html()
    data = base64.b64decode(html.partition("base64,")[2].partition('"')[0])
    return html, Image.open(io.BytesIO(data))


def test_a_small_image_is_embedded_unchanged_and_shown_pixelated():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    html, pil_image = embed(image)
    assert 'class="pixelated"' in html
    np.testing.assert_array_equal(np.asarray(pil_image), image)


def test_a_large_image_is_reduced_before_it_is_embedded():
    html, pil_image = embed(np.zeros((600, 900, 3), np.uint8))
    assert 'class="pixelated"' not in html
    assert max(pil_image.size) == 224


def test_an_error_shows_the_true_class_the_predicted_class_and_its_probability():
    html = ErrorGallery("t", [ConfidentError(np.zeros((8, 8, 3), np.uint8), "<n>", "<a>", "b", 0.9987)]).html()
    assert "<p>&lt;a&gt; → <strong>b</strong></p><p>99.9 %</p>" in html
    assert 'title="&lt;n&gt;"' in html
