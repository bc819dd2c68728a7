"""For others: a model folder with its card, and the upload to the Hugging Face hub."""
