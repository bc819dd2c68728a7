"""Sounds: from files to spectrograms, which are images."""
