"""One live connection, and what it is made of."""
