"""Validation of augmentation settings."""

from mixlab.errors import UserError


def require(condition: bool, setting: str, rule: str) -> None:  # noqa: FBT001  the condition itself
    """Raise UserError unless `condition` holds.

    `setting`: the name and value, such as "mixup.alpha=0".
    `rule`: what the value must be, such as "above 0".
    """
    if not condition:
        raise UserError(f"augmentation.{setting} is invalid: it must be {rule}.")
