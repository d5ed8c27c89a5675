"""Normalizing flows: bijectors with log-determinants, and models composed of them."""
