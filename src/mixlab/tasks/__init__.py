"""What a training learns from images: targets, loss and metrics of each task."""
