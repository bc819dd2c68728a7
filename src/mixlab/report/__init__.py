"""How results look: tables, figures, pages, progress. Knows no torch."""
