"""`validate_every`: the epochs after which a training is validated."""

import pytest

from mixlab.errors import UserError
from mixlab.runs.history import read_history
from mixlab.speed.plan import ComputeMode, Plan
from mixlab.training.loop import train

PLAN = Plan("cpu", ComputeMode(), 8)


@pytest.mark.parametrize(
    ("settings", "validated"),
    [
        (["epochs=5"], [1, 2, 3, 4, 5]),
        (["epochs=5", "validate_every=2"], [2, 4, 5]),
        (["epochs=4", "validate_every=2"], [2, 4]),
        (["epochs=2", "validate_every=9"], [2]),
        (["epochs=9", "validate_every=2.5"], [3, 5, 8, 9]),
    ],
)
def test_validation_after_every_so_many_epochs_and_after_the_last(make_job, tmp_path, settings, validated):
    run = train(make_job(*settings), PLAN, tmp_path / "run", quiet=True)
    epochs = read_history(run.journal).epochs
    assert [epoch["epoch"] for epoch in epochs if epoch["validation"] is not None] == validated
    assert len(epochs) == int(settings[0][-1])
    assert run.weights.exists()


def test_rare_validation_of_merged_images_is_refused(make_job):
    with pytest.raises(UserError, match=r'validate_every=2 and validation="merged" can\'t be combined: .* training'):
        make_job("validate_every=2", "validation=merged")
