"""Corruptions of images as in ImageNet-C and CIFAR-10-C, computed while images are read, and the papers' averages."""
