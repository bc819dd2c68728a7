import pytest

from mixlab.report.text_width import fit_names, shorten, text_width


@pytest.mark.parametrize("size", [11, 12, 24])
def test_text_needs_at_least_what_matplotlib_draws(size):
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    text = "resampled, 32 px, not fine-tuned − 39.4 [37.8, 41.0]"
    font = FontProperties(family="DejaVu Sans", size=size)
    drawn, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    assert drawn < text_width(text, size) < 1.06 * drawn


def test_characters_that_the_font_lacks_are_as_wide_as_their_cells():
    assert text_width("猫", 12) == pytest.approx(12, rel=0.05)


def test_a_name_that_fits_exactly_is_not_shortened():
    name = "resampled, 32 px, not fine-tuned"
    assert fit_names([name], text_width(name)) == name
    shorter = fit_names([name], text_width(name) - 1)
    assert "…" in shorter
    assert text_width(shorter) <= text_width(name) - 1


def test_the_longest_of_several_names_is_shortened():
    assert fit_names(["mixer", "timm:vit_tiny_patch16_224"], 150) == "mixer − timm:vit…_224"


def test_a_width_for_no_letter_leaves_an_ellipsis():
    assert fit_names(["mixer", "davit"], 1) == "… − …"


def test_east_asian_names_are_shortened_by_cells():
    assert shorten("写真の分類器", 8) == "写真…器"
