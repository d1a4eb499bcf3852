"""The specification: float64 NumPy, short and slow, for tests and benchmarks only."""
