"""The client: `Client`."""

from gqlwire.client.client import Client

__all__ = ["Client"]
