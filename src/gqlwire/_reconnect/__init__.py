"""Keeping a connection: reconnect, resubscribe, and report it."""
