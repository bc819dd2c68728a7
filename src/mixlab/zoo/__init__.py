"""What exists: sizes, the papers' tables, foreign names, and timm's models under one roof."""
