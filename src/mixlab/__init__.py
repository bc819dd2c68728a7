"""mixlab: a laboratory and workshop for patch-mixing vision models."""
