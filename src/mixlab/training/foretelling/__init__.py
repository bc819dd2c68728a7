"""What a training will do and need, before anything is written."""
