"""Autoencoders and adversarial networks as Linen modules."""
