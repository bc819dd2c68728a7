"""Generated texts for tests: a question about a thing, and the class is the thing."""

import random
from pathlib import Path

THINGS = {"card": ("card", "pin", "chip"), "loan": ("loan", "interest", "rate"), "travel": ("flight", "hotel", "visa")}
_BEFORE = ("where is my", "tell me about the", "i have lost a", "how do i get the")
_AFTER = ("please", "today", "?", "right now", "again")


def write_texts(path: Path, texts: int, seed: int = 0) -> Path:
    """Write a table with the columns text and label."""
    rng = random.Random(seed)
    rows = ["text,label"]
    for index in range(texts):
        label = list(THINGS)[index % len(THINGS)]
        words = [rng.choice(_BEFORE), rng.choice(THINGS[label]), rng.choice(_AFTER), f"number {rng.randrange(10**6)}"]
        rows.append(f"{' '.join(words)},{label}")
    path.write_text("\n".join(rows) + "\n")
    return path
