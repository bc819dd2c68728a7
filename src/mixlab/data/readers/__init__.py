"""Readers of image datasets, one module per kind of source. Each returns a `Dataset`."""
