"""The claims of the study of ConvMixer, for the arms that it trains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mixlab.studies.result import Claim


@dataclass(frozen=True)
class Base:
    """The ConvMixer of which one factor at a time is changed."""

    patch_size: int
    width: int
    kernel_size: int
    depth: int

    @property
    def name(self) -> str:
        return grid_name(self.patch_size, self.width)


def grid_name(patch_size: int, width: int) -> str:
    """The arm of a patch size in pixels and a width."""
    return f"patch {patch_size}, width {width}"


def kernel_name(kernel_size: int) -> str:
    return f"kernel {kernel_size}"


def depth_name(depth: int) -> str:
    return f"depth {depth}"


def patch_effect(small: int, large: int) -> str:
    """The quantity: accuracy with small patches minus that with large ones, averaged over all widths."""
    return f"patch {small} minus patch {large}, mean of all widths"


_PAPER = "Trockman and Kolter 2022"
_REGIME = (
    "the source trains ConvMixers of 5 to 52 million parameters on ImageNet for 150 and 300 epochs, and small ones "
    "on CIFAR-10; this study trains small ones for few epochs"
)
_WITHOUT = "the design of Trockman and Kolter 2022"
_UNREPORTED = "no result for small images and few epochs is compared with"


def _less_accurate(factor: str, change: str) -> Claim:
    statement = f"{change}, a ConvMixer is less accurate."
    contrast = (factor, "{base}")
    return Claim(statement=statement, contrast=contrast, expected="lower", source=_WITHOUT, regime=_UNREPORTED)


_OF_FACTORS = {
    "residual=none": _less_accurate("residual=none", "Without residual connections"),
    "norm=layer": _less_accurate("norm=layer", "With LayerNorm in place of BatchNorm"),
    "norm=none": _less_accurate("norm=none", "Without norms"),
    "order=norm-activation": Claim(
        statement="A ConvMixer is equally accurate with the norm before the activation.",
        contrast=("order=norm-activation", "{base}"),
        expected="equal",
        margin=1.0,
        source="the order in the authors' code is the other one",
        regime=_UNREPORTED,
    ),
}
FACTORS = tuple(_OF_FACTORS)
"""Changes of one factor of `variant:ablated_convmixer`."""


def claims(
    patch_sizes: Sequence[int],
    widths: Sequence[int],
    kernel_sizes: Sequence[int],
    depths: Sequence[int],
    factors: Sequence[str],
    base: Base,
) -> tuple[Claim, ...]:
    """The claims about the smallest and the largest value of each factor, in ascending order of the values.

    Claims about a factor with a single value are left out.
    """
    made: list[Claim] = []
    small, large, narrow, wide = patch_sizes[0], patch_sizes[-1], widths[0], widths[-1]
    if small < large:
        made.append(
            _paper_claim("Smaller patches are more accurate, averaged over the widths.", (patch_effect(small, large),))
        )
    if small < large and narrow < wide:
        statement = (
            f"Large patches ask for larger networks: width {wide} in place of {narrow} gains more with patches of"
        )
        corners = ((large, wide), (large, narrow), (small, wide), (small, narrow))
        contrast = tuple(grid_name(*corner) for corner in corners)
        made.append(_paper_claim(f"{statement} {large} than of {small} pixels.", contrast))
    if kernel_sizes[0] < kernel_sizes[-1]:
        pair = tuple(
            base.name if k == base.kernel_size else kernel_name(k) for k in (kernel_sizes[-1], kernel_sizes[0])
        )
        made.append(_paper_claim(f"Kernels of {kernel_sizes[-1]} are more accurate than of {kernel_sizes[0]}.", pair))
    if depths[0] < depths[-1]:
        pair = tuple(base.name if d == base.depth else depth_name(d) for d in (depths[-1], depths[0]))
        made.append(_paper_claim(f"{depths[-1]} blocks are more accurate than {depths[0]}.", pair))
    made += [_factor_claim(factor, base) for factor in factors]
    return tuple(made)


def _paper_claim(statement: str, contrast: tuple[str, ...]) -> Claim:
    return Claim(statement=statement, contrast=contrast, expected="higher", source=_PAPER, regime=_REGIME)


def _factor_claim(factor: str, base: Base) -> Claim:
    claim = _OF_FACTORS[factor]
    return replace(claim, contrast=tuple(name.format(base=base.name) for name in claim.contrast))
