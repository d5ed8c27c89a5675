"""Recurrent models as Linen modules."""
