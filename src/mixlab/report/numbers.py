"""Numbers as human-readable text: decimals, thousands, uncertainty and durations."""

from collections.abc import Iterable, Sequence
from math import ceil, floor, isfinite, log10

from mixlab.stats.estimate import Estimate

DASH = "–"


def number(value: float, digits: int) -> str:
    """A number with `digits` decimals and thousands separators: -1234.5 -> "−1,234.5"."""
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def decimals(values: Iterable[float]) -> int:
    """Number of decimals (0 to 6) with which the largest value has three significant digits."""
    largest = max((abs(value) for value in values if isfinite(value)), default=0.0)
    return min(6, max(0, 2 - floor(log10(largest)))) if largest > 0 else 0


def decimals_of_intervals(estimates: Iterable[Estimate]) -> int:
    """Number of decimals (2 to 6) with which half of the narrowest interval has two significant digits."""
    halves = [
        (high - low) / 2 for low, high in (each.extent for each in estimates) if low < high and isfinite(high - low)
    ]
    return min(6, max(2, 1 - floor(log10(min(halves))))) if halves else 2


def format_spread(estimate: Estimate, digits: int) -> str:
    """ "± 0.3 (n = 3)", or "" if the spread is unknown."""
    return f"± {number(estimate.spread, digits)} (n = {estimate.n})" if estimate.spread is not None else ""


def interval(estimate: Estimate, digits: int) -> str:
    """The 95 % interval as "[96.1, 98.2]", or "" if it is unknown or the number is exact."""
    low, high = estimate.extent
    return "" if low == high else f"[{number(low, digits)}, {number(high, digits)}]"


def format_estimate(estimate: Estimate, digits: int) -> str:
    """ "97.4 [96.1, 98.2]": the value and its 95 % interval."""
    return f"{number(estimate.value, digits)} {interval(estimate, digits)}".rstrip()


def format_points(points: float) -> str:
    """ "1 point", "0.5 points"."""
    return f"{points:g} point" if points == 1 else f"{points:g} points"


def format_p(p: float) -> str:
    """A p-value as "p = 0.034" or "p < 0.001"; three decimals, or four close to 0.05."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.4f}" if round(p, 3) == 0.05 else f"p = {p:.3f}"


def round_up(count: float) -> int:
    """A number of things, rounded up to two significant digits: 1,337.2 -> 1,400."""
    whole = ceil(count)
    unit = 10 ** max(len(str(whole)) - 2, 0)
    return ceil(whole / unit) * unit


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Tick labels with the same number of decimals, or with suffixes k, M, G and T from 10,000 on."""
    if max(map(abs, ticks), default=0) >= 10_000:
        return [short(tick) for tick in ticks]
    places = max((len(f"{tick:.6g}".partition(".")[2]) for tick in ticks), default=0)
    return [number(tick, places) for tick in ticks]


def short(value: float, digits: int = 3) -> str:
    """Significant digits with a suffix: 59_880_472 -> "59.9M"."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def duration(seconds: float) -> str:
    """A duration in its largest units: "48 s", "12 min", "2 h 10 min", "3 d 4 h"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
