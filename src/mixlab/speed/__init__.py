"""Faster execution of the same model: the plan (precision, layout, micro-batch) of a training on this machine."""
