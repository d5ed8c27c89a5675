"""Sentences of tagged words: files, sources of Python, and their arrays."""
