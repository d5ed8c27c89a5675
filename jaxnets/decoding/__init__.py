"""Decoding: sampling and trees of continuations over any step function."""

from jaxnets.decoding.sampling import stream, tree, truncate

__all__ = ["stream", "tree", "truncate"]
