"""Linear probes: closed-form heads fitted on the frozen features of a model, and the cache of these features."""
