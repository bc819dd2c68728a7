"""Opens the data of a recipe with the readers of its task."""

from mixlab.data.dataset import Dataset
from mixlab.data.sources import open_dataset
from mixlab.tasks.tasks import TASKS
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.schema import Recipe


def open_data(recipe: Recipe | LinearProbeRecipe) -> Dataset:
    """The data set of a recipe, without progress. Raises UserError as `open_dataset` does."""
    task = recipe.task if isinstance(recipe, Recipe) else "classification"
    return open_dataset(recipe.data, TASKS[task].kinds, quiet=True)
