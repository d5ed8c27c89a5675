"""Tokens of texts: vocabularies, tokenizers, subword units, and schemes of tags."""
