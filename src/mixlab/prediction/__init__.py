"""Prediction: images in, labels with probabilities out."""
