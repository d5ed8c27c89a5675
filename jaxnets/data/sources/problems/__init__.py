"""Synthetic problems: batches are generated on demand, and no example is repeated."""
