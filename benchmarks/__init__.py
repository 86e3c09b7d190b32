"""What the README states in figures, measured: `python -m benchmarks.NAME`."""
