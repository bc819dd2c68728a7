"""Datasets: reading, splitting, preprocessing, augmentation and batching of images."""
