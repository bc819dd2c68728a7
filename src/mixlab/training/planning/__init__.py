"""Planning a training: autotuning, memory and time estimates, and a preview of the augmented images."""
