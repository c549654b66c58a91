"""People who leave, and files that should not count."""
