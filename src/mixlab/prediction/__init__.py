"""How it answers: images in, labels with probabilities out."""
