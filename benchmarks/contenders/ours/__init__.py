"""gqlwire."""
