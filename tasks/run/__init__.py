"""What every stage stands on: warehouse, run, manifest, files, database, lock, errors, logs."""
