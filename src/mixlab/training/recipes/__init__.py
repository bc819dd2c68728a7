"""Recipes: their schema, parsing and checks, and the default recipes."""
