"""A client written by hand for one purpose: how fast Python can be."""
