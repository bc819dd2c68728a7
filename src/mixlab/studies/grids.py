"""Options of studies that cut a grid: comma-separated numbers and words. Errors name the option and its rule."""

from collections.abc import Sequence

from mixlab.errors import UserError, did_you_mean


def numbers(option: str, values: Sequence[str], *, above: float, most: float, example: str) -> tuple[float, ...]:
    """The sorted numbers of an option.

    option  with its dashes, for errors
    above   every number is above this bound
    most    the largest number

    Raises UserError if a value is not a number in the range, or is there twice.
    """
    found: list[float] = []
    for value in values:
        try:
            number = float(value)
        except ValueError:
            number = above
        if not above < number <= most:
            raise UserError(
                f"{option} {','.join(values)} is not a list of numbers above {above:g} and at most {most:g}: give "
                f"numbers with commas, such as {example}."
            )
        found.append(number)
    require_distinct(option, found)
    return tuple(sorted(found))


def words(option: str, values: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """The words of an option, in the order of `allowed`. Raises UserError for another word, and for a repeated one."""
    for value in values:
        if value not in allowed:
            hint = did_you_mean(value, allowed)
            raise UserError(f'{option} has "{value}": give some of {", ".join(allowed)}. {hint}'.rstrip())
    require_distinct(option, values)
    return tuple(word for word in allowed if word in values)


def require_distinct(option: str, values: Sequence[float | str]) -> None:
    """Raises UserError if a value of an option is there twice."""
    if len(set(values)) < len(values):
        listed = ",".join(value if isinstance(value, str) else f"{value:g}" for value in values)
        raise UserError(f"{option} {listed} has a value twice: give each value once.")
