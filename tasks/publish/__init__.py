"""Output tables: what goes into them, and what readers get."""
