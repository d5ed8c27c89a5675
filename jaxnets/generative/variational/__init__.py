"""Bounds of the likelihood, divergences, likelihoods and vector quantization."""
