"""Payloads: what requests contain, and what results are converted to."""
