"""How it learns: the recipe, the optimiser and its schedule, the one visible loop."""
