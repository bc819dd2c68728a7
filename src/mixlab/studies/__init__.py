"""The papers' experiments: one file a study."""
