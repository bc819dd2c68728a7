"""Weights in and out: file formats, loading, resizing, conversion, inspection and the hub."""
