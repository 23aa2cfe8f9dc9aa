"""Results that wait for their consumers: streams, replies, and their order in a merger."""
