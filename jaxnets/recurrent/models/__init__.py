"""Linen modules of recurrent models."""
