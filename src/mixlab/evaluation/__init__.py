"""How good a model is: metrics, per-class figures, baselines."""
