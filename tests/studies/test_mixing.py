"""What the modules of each family mix, exactly: the support of their Jacobians in float64."""

from typing import Any

import pytest
import torch

from mixlab.errors import UserError
from mixlab.models.davit import mix_channels, mix_channels_florence2
from mixlab.report.numbers import short
from mixlab.report.table import render
from mixlab.report.text import join_words
from mixlab.studies import mixing
from mixlab.studies.jacobian import Mixing, half_area, mixing_of
from mixlab.studies.mixing import MixingResult, Settings
from mixlab.studies.mixing_claims import mixing_findings
from mixlab.studies.mixing_modules import FIXED, MixingModule, mixing_modules
from mixlab.studies.result import claims_table, study_page
from mixlab.zoo.architecture import architecture
from report.test_references import entry_keys
from studies.test_result import written

MODELS = ("mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano")
BOTH = "places and channels"


@pytest.fixture(scope="module")
def result() -> MixingResult:
    return measured(*MODELS)


def measured(*models: str) -> MixingResult:
    return mixing.run(Settings(models=models, rows=32, images=2), quiet=True, log=lambda sentence: None)


def found(result: MixingResult) -> dict[tuple[str, str], tuple[set[str], int]]:
    """What the modules of a kind mix, and their largest reach."""
    return {
        (name, kind): ({one.mixes for one in ones}, max(one.reach for one in ones))
        for name, by_kind in result.kinds.items()
        for kind, ones in by_kind.items()
    }


def modules(name: str, kind: str) -> list[MixingModule]:
    model = mixing._random_model(name, seed=0).double().eval()
    image = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [one for one in mixing_modules(model, architecture(name), image) if one.kind == kind]


MIXES = {  # what, and the reach in cells
    ("mixer_nano", "stem"): ("channels", 0),
    ("mixer_nano", "token norm"): ("channels", 0),
    ("mixer_nano", "token MLP"): ("places", 7),
    ("mixer_nano", "channel norm"): ("channels", 0),
    ("mixer_nano", "channel MLP"): ("channels", 0),
    ("convmixer_nano", "stem"): ("channels", 0),
    ("convmixer_nano", "depthwise convolution"): ("places", 2),
    ("convmixer_nano", "pointwise convolution"): ("channels", 0),
    ("davit_nano", "stem"): (BOTH, 1),
    ("davit_nano", "position encoding"): ("places", 1),
    ("davit_nano", "window attention"): (BOTH, 3),
    ("davit_nano", "window attention" + FIXED): (BOTH, 3),
    ("davit_nano", "channel attention"): (BOTH, 7),
    ("davit_nano", "channel attention" + FIXED): ("channels", 0),
    ("davit_nano", "MLP"): ("channels", 0),
    ("davit_nano", "patch merging"): ("channels", 0),
    ("resnet_nano", "3 x 3 convolution"): (BOTH, 1),
    ("resnet_nano", "1 x 1 convolution"): ("channels", 0),
    ("resnet_nano", "batch norm"): ("nothing", 0),
    ("vit_nano", "4 x 4 convolution"): ("channels", 0),
    ("vit_nano", "self-attention"): (BOTH, 7),
    ("vit_nano", "self-attention" + FIXED): (BOTH, 7),
    ("vit_nano", "MLP"): ("channels", 0),
}


def test_every_module_mixes_what_its_definition_says(result):
    assert found(result) == {key: ({mixes}, reach) for key, (mixes, reach) in MIXES.items()}


def test_a_new_branch_of_your_own_block_is_measured(my_mixer):
    result = measured(my_mixer)
    own = {"MyBlock.local": ("places", 1), "whole MyBlock": (BOTH, 7)}
    of_mixer = {kind: expected for (name, kind), expected in MIXES.items() if name == "mixer_nano"}
    assert found(result) == {(my_mixer, kind): ({mixes}, reach) for kind, (mixes, reach) in (own | of_mixer).items()}
    assert {kind: len(ones) for kind, ones in result.kinds[my_mixer].items()} == dict.fromkeys(own | of_mixer, 6) | {
        "stem": 1
    }
    assert result.summary.sentence == "Places only: MyBlock.local and token MLP. Places and channels: whole MyBlock."
    assert {finding.verdict for finding in result.findings()} == {"agrees"}


def test_a_new_branch_depends_on_exactly_its_kernel(my_mixer):
    branches = modules(my_mixer, "MyBlock.local")
    assert len(branches) == 6
    for one in branches:
        assert (one.layouts, one.grids) == (("channel row column",) * 2, ((8, 8), (8, 8)))
        places, _, gradients = one.rows(16, torch.Generator().manual_seed(0))
        row, column = torch.arange(64) // 8, torch.arange(64) % 8
        for place, gradient in zip(places, gradients, strict=True):
            near = ((row - place // 8).abs() <= 1) & ((column - place % 8).abs() <= 1)
            assert torch.equal(gradient.any(dim=1), near)


def test_modules_of_a_block_are_found_by_what_they_map(gated):
    assert found(measured(gated)) == {
        (gated, "stem"): ({"channels"}, 0),
        (gated, "Block.gate"): ({"places"}, 3),
        (gated, "Block.transposed"): ({"places"}, 3),
        (gated, "Block.branches.0"): ({"channels"}, 0),
        (gated, "Block.branches.1"): ({"nothing"}, 0),
        (gated, "whole Block"): ({BOTH}, 3),
    }


def test_the_row_of_a_block_shows_mixing_without_a_module():
    name = "variant:pooling_mixer:image_size=32:patch_size=8:channels=8:token_hidden=1:channel_hidden=8:depth=1"
    by_kind = found(measured(name))
    assert by_kind[name, "whole PoolingBlock"] == ({BOTH}, 3)
    assert {mixes for _, kind in by_kind for mixes in by_kind[name, kind][0] if "whole" not in kind} == {"channels"}


def test_the_blocks_of_stages_and_their_attention_are_measured():
    sizes = "image_size=32:patch_size=4:channels=32:channel_hidden=16:depths=[1,1,1]"
    name = f"variant:metaformer:{sizes}:mixing=attention:shape=pyramid"
    by_kind = found(measured(name))
    assert by_kind[name, "MetaFormerStage.merge"] == ({"channels"}, 0)
    assert by_kind[name, "MetaFormerBlock.mixing"] == ({BOTH}, 15)


def test_a_part_with_the_name_of_an_attention_has_a_row_with_fixed_weights():
    name = "variant:attention_mixer:image_size=32:patch_size=8:channels=64:token_hidden=1:channel_hidden=8:depth=1"
    by_kind = found(measured(name))
    assert by_kind[name, "AttentionBlock.attention" + FIXED] == by_kind[name, "AttentionBlock.attention"] == ({BOTH}, 3)


def test_a_token_mlp_and_attention_over_all_places_depend_on_every_place(result):
    for name, kind in (
        ("mixer_nano", "token MLP"),
        ("vit_nano", "self-attention"),
        ("davit_nano", "channel attention"),
    ):
        assert {one.cells for one in result.kinds[name][kind]} == {1.0}


def test_a_token_mlp_depends_on_every_place_of_its_own_channel_and_on_nothing_else():
    for one in modules("mixer_nano", "token MLP"):
        _, channels, gradients = one.rows(16, torch.Generator().manual_seed(0))
        for channel, gradient in zip(channels, gradients, strict=True):
            assert (gradient[:, channel] != 0).all()
            gradient[:, channel] = 0
            assert not gradient.any()


def test_a_depthwise_convolution_depends_on_exactly_its_kernel():
    one = modules("convmixer_nano", "depthwise convolution")[0]
    places, channels, gradients = one.rows(32, torch.Generator().manual_seed(0))
    row, column = torch.arange(64) // 8, torch.arange(64) % 8
    for place, channel, gradient in zip(places, channels, gradients, strict=True):
        near = ((row - place // 8).abs() <= 2) & ((column - place % 8).abs() <= 2)
        assert torch.equal(gradient[:, channel] != 0, near)
        gradient[:, channel] = 0
        assert not gradient.any()


@pytest.mark.parametrize("kind", ["window attention", "window attention" + FIXED])
def test_window_attention_depends_on_exactly_the_places_of_its_window(kind):
    one = modules("davit_nano", kind)[0]
    assert one.grids == ((8, 8), (8, 8))
    places, _, gradients = one.rows(32, torch.Generator().manual_seed(0))
    window = torch.arange(64) // 32 * 2 + torch.arange(64) % 8 // 4
    for place, gradient in zip(places, gradients, strict=True):
        assert torch.equal(gradient.any(dim=1), window == window[place])


@pytest.mark.parametrize("mix", [mix_channels, mix_channels_florence2])
def test_channel_attention_mixes_places_within_a_group_through_its_weights_only(mix):
    query, key, value = (torch.randn(1, 3, 10, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    group, place, channel = 1, 6, 2
    gradients = torch.autograd.grad(mix(query, key, value)[0, group, place, channel], (query, key, value))
    weighed = 0 if mix is mix_channels else 2  # the factor that the attention weights multiply
    for index, gradient in enumerate(gradients):
        depends = gradient[0] != 0
        assert not depends[[0, 2]].any()  # of no other group
        if index == weighed:
            assert depends[group, place].all()
            assert depends[group].any(dim=1).tolist() == [one == place for one in range(10)]
        else:
            assert depends[group].any(dim=1).all()


def test_the_class_token_of_a_vit_is_no_place():
    name = "timm:vit_tiny_patch16_224:img_size=32:patch_size=8:depth=1:embed_dim=24"
    (attention,) = modules(name, "self-attention")
    assert attention.x.shape == (17, 24)
    _, _, gradients = attention.rows(4, torch.Generator().manual_seed(0))
    assert gradients.shape == (4, 16, 24)


def test_the_mixing_distance_weighs_distances_by_the_squared_gradient():
    weights = torch.zeros(3, 3, dtype=torch.float64)
    weights[:, 0], weights[:, 2] = 2.0, 1.0  # every output depends on the first and the last of three places
    x = torch.randn(3, 1, dtype=torch.float64)
    layouts: Any = ("place channel", "place channel")
    one = MixingModule("line", lambda x: weights @ x, x, layouts, ((1, 3), (1, 3)))
    places, _, _ = one.rows(1, torch.Generator().manual_seed(0))
    mixed = mixing_of(one, side=5, count=1, generator=torch.Generator().manual_seed(0))
    distance = 5 * (4 * int(places[0]) + (2 - int(places[0]))) / 5
    assert mixed == Mixing("line", "places", max(int(places[0]), 2 - int(places[0])), 2 / 3, distance)


def test_the_effective_receptive_field_of_convolutions_is_within_their_reach():
    settings = Settings(models=("convmixer_nano",), rows=1, images=2)
    model = mixing.create_model("convmixer_nano", depth=1, kernel_size=3).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    field = mixing.effective_receptive_field(model, images, torch.Generator().manual_seed(settings.seed))
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[12:24, 12:24] = True  # the patch in row and column 4 of 8, and one around it
    assert torch.equal(field > 0, inside)


def test_half_of_an_even_field_takes_half_of_the_area():
    assert half_area(torch.ones(4, 4)) == 0.5
    assert half_area(torch.eye(4)) == 2 / 16


def test_all_claims_of_the_sources_agree(result):
    findings = result.findings()
    assert len(findings) == 10 and {finding.verdict for finding in findings} == {"agrees"}
    statements = {finding.claim.statement for finding in findings}
    assert "mixer_nano, token MLP: every module mixes no channels." in statements
    assert "vit_nano, self-attention: every module depends on every place." in statements


def test_a_claim_disagrees_if_a_module_contradicts_it():
    within, beyond = Mixing("token MLP", "places", 7, 1.0, 16.0), Mixing("token MLP", BOTH, 7, 0.5, 16.0)
    first, second = mixing_findings({"mine": {"token MLP": [within, beyond, beyond]}})
    assert (first.verdict, second.verdict) == ("disagrees", "disagrees")
    assert first.difference is not None and first.difference.value == 2
    assert [one.verdict for one in mixing_findings({"mine": {"token MLP": [within]}})] == ["agrees", "agrees"]


def test_the_table_of_counted_claims_has_whole_numbers_and_no_p_values(result):
    table = claims_table(result.findings())
    assert "p" not in {column.key for column in table.columns} and "Margin" not in " ".join(table.notes)
    assert render(table, "markdown").count(" 0 |") == 10


def test_the_result_has_a_page_and_json(result):
    html = study_page(result).html()
    assert html.count("<img") == len(MODELS)
    assert "Places only: token MLP, depthwise convolution and position encoding." in result.summary.sentence
    assert set(result.to_dict()["models"]) == set(MODELS)


def test_a_line_joins_the_distances_of_modules_of_one_kind(result):
    _, distances = result.figures()
    assert distances.legend.shown == [
        *("mixer_nano, token MLP", "convmixer_nano, depthwise convolution", "davit_nano, stem"),
        *("davit_nano, position encoding", "davit_nano, window attention", "davit_nano, channel attention"),
        *("resnet_nano, 3 x 3 convolution", "vit_nano, self-attention"),
    ]
    shown = distances.panels[0].svg()
    assert ">Mixing distance (px)<" in shown and ">Depth (%)<" in shown
    distances_by_depth = [one.distance for one in result.kinds["davit_nano"]["channel attention"]]
    assert (
        f"channel attention {short(distances_by_depth[0])} to {short(distances_by_depth[-1])}"
        in distances.panels[0].alt
    )


def test_methods_say_that_counts_are_exact_and_need_no_tests(result, tmp_path):
    count = sum(len(measured.modules) for measured in result.models.values())
    assert f"{count} modules of mixer_nano" in result.methods and "by 32 random rows" in result.methods
    assert "They are exact, so that there are no tests." in result.methods and "t test" not in result.methods
    assert f"The weights of {join_words(MODELS)} are random." in result.methods
    keys = ["mixlab", "pytorch", "mixer", "convmixer", "davit", "resnet", "timm", "vit", "receptivefield"]
    assert entry_keys(result.bibtex) == keys
    assert result.methods in study_page(result).html() and "@inproceedings{receptivefield," in study_page(result).html()
    stored = written(result, tmp_path)
    assert (stored["methods"], stored["bibtex"]) == (result.methods, result.bibtex)


def test_models_without_blocks_or_of_one_image_size_are_refused(gated):
    with pytest.raises(UserError, match=r"without_blocks.* has no modules that this study knows"):
        measured(gated.replace("Gated", "without_blocks"))
    with pytest.raises(
        UserError, match=r"also builds py:.*:of_one_size:.* twice the height and width, which fails: py:"
    ):
        measured(gated.replace("Gated", "of_one_size"))


def test_a_model_that_is_given_twice_is_refused():
    with pytest.raises(UserError, match="--models mixer_nano,mixer_nano has a value twice"):
        mixing.run(Settings(models=("mixer_nano", "mixer_nano")), quiet=True, log=print)


def test_with_fixed_weights_every_place_of_a_window_has_the_same_gradient_up_to_its_weight():
    ranks = {}
    for kind in ("window attention", "window attention" + FIXED):
        one = modules("davit_nano", kind)[0]  # one head
        _, _, gradients = one.rows(8, torch.Generator().manual_seed(0))
        ranks[kind] = set(torch.linalg.matrix_rank(gradients, rtol=1e-9).tolist())
    assert ranks["window attention" + FIXED] == {1}
    assert min(ranks["window attention"]) > 1
