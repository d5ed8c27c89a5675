"""Linen modules that the families share."""
