"""Executors that depend on internals of JAX or on one kind of hardware."""
