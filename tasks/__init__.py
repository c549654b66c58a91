"""One stage of the night a file: load, call one function, save, return a handle."""
