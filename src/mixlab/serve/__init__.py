"""Predictions over HTTP, on one machine."""
