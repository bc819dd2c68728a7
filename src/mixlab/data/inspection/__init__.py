"""Checks of a dataset before training: unreadable files, duplicates, rare classes."""
