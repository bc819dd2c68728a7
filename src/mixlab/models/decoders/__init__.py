"""Decoders: from the feature maps of a network to the logits of patches."""
