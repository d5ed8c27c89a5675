"""Losses, penalties and norms of adversarial training, and functions of whole batches."""
