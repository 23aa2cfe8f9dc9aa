"""Where results wait for whoever takes them."""
