"""Source files: their formats, columns and ids."""
