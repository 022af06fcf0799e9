"""Training: examples in, better towers out. Never sees an index."""
