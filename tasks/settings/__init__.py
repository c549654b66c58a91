"""The configuration: its sections, loading it, its reference."""
