"""Text: models of classification, tagging and word vectors, and the functions that they consist of."""
