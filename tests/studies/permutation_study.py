"""Does a Mixer lose anything where patches and their pixels are permuted, with token MLPs or with attention?"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mixlab.data.dataset import Dataset
from mixlab.measure import machine
from mixlab.stats.intervals import mean_interval
from mixlab.studies.arms import correct_answers, train_arms
from mixlab.studies.result import Arm, ArmsResult, Claim
from mixlab.training.recipes.parse import parse_training_recipe

MODELS = {"token MLPs": "mixer_nano", "attention": "variant:attention_mixer"}
CHANGES = {"": {}, ", permuted": {"transform": {"name": "permute_patches", "patch_size": 4}}}
TINY = {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 2, "stochastic_depth": 0.3}
SIZE = {"image_size": 8, "steps": 23, "batch": 8, "validation": "merged", "config": TINY}
EQUAL: dict[str, Any] = {"expected": "equal", "margin": 5.0, "source": "Tolstikhin et al.", "regime": "tiny models"}
TEXT = "A Mixer with {} loses nothing where its patches are permuted."
CLAIMS = tuple(Claim(statement=TEXT.format(one), contrast=(f"{one}, permuted", one), **EQUAL) for one in MODELS)


@dataclass(frozen=True)
class Settings:
    seeds: int = field(default=2, metadata={"help": "Trainings of each arm.", "min": 2})
    learning_rate: float = field(default=0.01, metadata={"help": "At the peak of the schedule."})


def run(dataset: Dataset, settings: Settings, *, quiet: bool, log: Callable[[str], None]) -> ArmsResult:
    rest = SIZE | {"data": dataset.name, "optimizer": {"learning_rate": settings.learning_rate, "weight_decay": 0.05}}
    fields = {a + b: rest | {"model": MODELS[a]} | CHANGES[b] for a in MODELS for b in CHANGES}
    seeds = [{"seed": seed} for seed in range(settings.seeds)]
    recipes = {arm: [parse_training_recipe(of_arm | one, arm) for one in seeds] for arm, of_arm in fields.items()}
    runs = train_arms(recipes, dataset, log=log, quiet=quiet)
    scores = {arm: [100 * float(correct_answers(one, dataset).mean()) for one in runs[arm]] for arm in runs}
    arms = tuple(Arm(arm, tuple(of_arm), mean_interval(of_arm, "%")) for arm, of_arm in scores.items())
    what: dict[str, Any] = {"title": "Do permuted patches cost anything?", "command": "mixlab study permutation"}
    here = machine.describe()
    return ArmsResult(data=dataset.name, settings=settings, arms=arms, claims=CLAIMS, environment=here, **what)
