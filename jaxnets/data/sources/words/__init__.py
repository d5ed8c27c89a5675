"""Words of running text, for word vectors."""
