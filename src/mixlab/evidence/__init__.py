"""What a number is worth: estimates, intervals, paired tests."""
