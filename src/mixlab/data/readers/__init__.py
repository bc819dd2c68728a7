"""Where images come from: one file for each kind of source, which gives a `Dataset` or its parts."""
