"""Probes: linear heads fitted to the frozen features of a model, and the cache of these features."""
