"""What a training is asked for: the keys of a recipe, where it is read from, and what checks it."""
