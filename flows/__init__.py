"""Prefect flows: the names and the order of the stages, and the command line that starts them."""
