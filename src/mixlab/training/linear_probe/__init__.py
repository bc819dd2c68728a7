"""Linear probes: a ridge regression head on frozen features, with its recipe, estimate and run."""
