"""Probes: classifiers on the frozen features of a model, and the cache of these features."""
