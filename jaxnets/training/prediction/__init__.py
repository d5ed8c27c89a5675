"""Trained models applied to files: what is read, computed batch by batch, and written."""
