"""What exists: sizes, cards of published weights, the papers' tables, and timm's models."""
