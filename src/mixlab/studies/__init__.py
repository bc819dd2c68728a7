"""Experiments of the papers, one file per study."""
