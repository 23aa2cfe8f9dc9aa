"""What goes into a request and comes out of a result."""
