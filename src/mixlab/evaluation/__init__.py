"""Evaluation of models: metrics, baselines, reports on runs, verification of weights, linear probes."""
