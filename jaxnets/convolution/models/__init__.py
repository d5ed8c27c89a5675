"""Convolutional models as Linen modules."""
