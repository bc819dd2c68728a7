"""A training's folder: its format, its journal, its checkpoints, and the store of finished trainings."""
