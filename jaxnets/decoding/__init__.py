"""Decoding with any step function: greedy search, sampling, beam search and trees of continuations."""

from jaxnets.decoding.beam import Hypotheses, beam_search, length_penalty
from jaxnets.decoding.sampling import greedy, sample, stream, tree, truncate

__all__ = ["Hypotheses", "beam_search", "greedy", "length_penalty", "sample", "stream", "tree", "truncate"]
