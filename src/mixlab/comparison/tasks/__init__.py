"""What differs between comparisons of models for different tasks."""
