"""One live connection: it connects a protocol, the streams and the WebSocket."""
