"""Training: recipes, optimisers, learning rate schedules, the training loop, and linear probes."""
