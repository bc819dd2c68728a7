"""Files of weights: opened safely and tensor by tensor, and written."""
