"""The linear probe as a training: its recipe, its estimate, and the run that it leaves."""
