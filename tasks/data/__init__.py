"""Source files into events, and events into matrices."""
