"""Attention: pure functions of arrays that support arbitrary masks, and transformers."""

from jaxnets.attention.alignment import (
    additive_init,
    additive_scores,
    attend,
    multiplicative_init,
    multiplicative_scores,
)
from jaxnets.attention.blocks import Block, MultiHeadAttention
from jaxnets.attention.cache import Cache, cache_contents, cache_length, extend_cache, init_cache
from jaxnets.attention.depth import stack
from jaxnets.attention.dot_product import attention, attention_weights, choose_implementation
from jaxnets.attention.models.decoder_lm import DecoderLM, gpt2, modern_lm
from jaxnets.attention.models.transformer import Memory, Transformer
from jaxnets.attention.positions import alibi, relative_buckets, rotary, sinusoidal
from jaxnets.attention.ring import Ring
from jaxnets.attention.unstacking import unstack

__all__ = [
    "Block",
    "Cache",
    "DecoderLM",
    "Memory",
    "MultiHeadAttention",
    "Ring",
    "Transformer",
    "additive_init",
    "additive_scores",
    "alibi",
    "attend",
    "attention",
    "attention_weights",
    "cache_contents",
    "cache_length",
    "choose_implementation",
    "extend_cache",
    "gpt2",
    "init_cache",
    "modern_lm",
    "multiplicative_init",
    "multiplicative_scores",
    "relative_buckets",
    "rotary",
    "sinusoidal",
    "stack",
    "unstack",
]
