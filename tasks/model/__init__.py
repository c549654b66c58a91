"""Training, the comparison with the published model, and the gate."""
