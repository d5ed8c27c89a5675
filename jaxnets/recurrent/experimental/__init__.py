"""Executors that depend on JAX internals or on specific hardware."""
