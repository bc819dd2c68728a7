"""Export: a model folder with a model card, and the upload to the Hugging Face hub."""
