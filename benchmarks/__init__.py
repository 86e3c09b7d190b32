"""What the README states in numbers, measured: `python -m benchmarks.NAME`."""
