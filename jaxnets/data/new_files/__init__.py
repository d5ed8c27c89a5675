"""Readers of new files in the format of the training data."""
