"""Transformers as Linen modules."""
