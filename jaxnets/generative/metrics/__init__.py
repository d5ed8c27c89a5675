"""Metrics of generative models, of arrays on the host in float64."""
