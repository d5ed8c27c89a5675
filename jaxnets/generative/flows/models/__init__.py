"""Normalizing flows as Linen modules."""
