"""What is done to pictures before a model learns from them: one by one, as a whole batch, and mixed."""
