"""Does a Mixer lose anything where patches and their pixels are permuted, with token MLPs or with attention?"""

from dataclasses import dataclass, field

from mixlab.data.dataset import Dataset
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.result import Claim
from mixlab.training.recipes.parse import parse_training_recipe

COST = "8 trainings of 23 steps"
MODELS = {"token MLPs": "mixer_nano", "attention": "variant:attention_mixer"}
CHANGES = {"": {}, ", permuted": {"transform": {"name": "permute_patches", "patch_size": 4}}}
TINY = {"patch_size": 4, "channels": 8, "token_hidden": 8, "channel_hidden": 16, "depth": 2, "stochastic_depth": 0.3}
SIZE = {"image_size": 8, "steps": 23, "batch": 8, "validation": "merged", "config": TINY}
TEXT = "A Mixer with {} loses nothing where its patches are permuted."
SOURCE, REGIME = "Tolstikhin et al. 2021, section 3.4", "the source has large models; this study tiny ones"


def equality(name: str) -> Claim:
    pair = (f"{name}, permuted", name)
    return Claim(statement=TEXT.format(name), contrast=pair, expected="equal", margin=5, source=SOURCE, regime=REGIME)


@dataclass(frozen=True)
class Settings:
    seeds: int = field(default=2, metadata={"help": "Trainings of each arm.", "min": 2})
    learning_rate: float = field(default=0.01, metadata={"help": "At the peak of the schedule."})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    fields = SIZE | {"data": dataset.name, "optimizer": {"learning_rate": settings.learning_rate, "weight_decay": 0.05}}
    recipes = {a + b: fields | {"model": MODELS[a]} | CHANGES[b] for a in MODELS for b in CHANGES}
    seeds = range(settings.seeds)
    return {arm: [parse_training_recipe(one | {"seed": seed}, arm) for seed in seeds] for arm, one in recipes.items()}


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    title, claims = "Do permuted patches cost anything?", tuple(map(equality, MODELS))
    return trained.result(title=title, command="mixlab study permutation-study", settings=settings, claims=claims)
