"""Linen modules of transformers."""
