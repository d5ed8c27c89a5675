"""Sources of labeled texts, and batches of rows of similar length."""
