"""Checkpoints: written, verified, retained and removed, and what a run begins from."""
