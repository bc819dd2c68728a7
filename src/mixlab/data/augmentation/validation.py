"""The sentence about a setting of the augmentation that is out of its range."""

from mixlab.errors import UserError


def require(possible: bool, setting: str, rule: str) -> None:  # noqa: FBT001  the condition itself
    if not possible:
        raise UserError(f"augmentation.{setting} is not possible: it must be {rule}.")
