"""What exists: sizes, Cards, the papers' tables, weights in and out, and timm's models under one roof."""
