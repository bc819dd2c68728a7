"""A training's folder: its format, journal and checkpoints, the store of finished trainings, and lists of runs."""
