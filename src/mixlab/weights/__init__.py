"""Weights: file formats, loading, resizing, conversion, inspection and the Hugging Face hub."""
