"""Augmentation of training images: one at a time, as a batch, and by mixing images."""
