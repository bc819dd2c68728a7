"""How it answers: pictures in, labels with probabilities out."""
