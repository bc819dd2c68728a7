"""Ablated and hybrid networks, built from the families' parts: `variant:NAME` is the function NAME of NAME.py here."""
