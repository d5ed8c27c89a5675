"""Predictions of trained models for files: input, computation in batches, and output."""
