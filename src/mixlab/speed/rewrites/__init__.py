"""Replacement of modules by faster ones with the same function, the same parameters and the same names."""
