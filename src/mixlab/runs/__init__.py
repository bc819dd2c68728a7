"""Run folders: their format, journal and checkpoints, the store of trainings, and tables of runs."""
