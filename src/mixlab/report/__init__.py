"""Presentation of results: tables, figures, HTML pages and progress bars. Does not import torch."""
