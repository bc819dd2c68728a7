"""Benchmarks: the speed of models, measured side by side."""
