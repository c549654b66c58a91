"""Every DuckDB statement longer than a line, one table, check or query a file."""
