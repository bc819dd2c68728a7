"""What is done to images before a model learns from them: one by one, as a whole batch, and mixed."""
