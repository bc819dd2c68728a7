"""Variants of the families: ablations and hybrids. `variant:NAME` is built by the function NAME in NAME.py."""
