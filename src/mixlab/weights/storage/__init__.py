"""Files of weights: safe, lazy reading, and writing."""
