"""Texts: from files to batches of hashed tokens."""
