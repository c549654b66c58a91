"""What is done with published tables."""
