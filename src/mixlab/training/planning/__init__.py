"""Before step 0: the plan found by autotuning, memory and time estimates, and a preview of the augmented images."""
