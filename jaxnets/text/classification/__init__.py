"""Text classification: models with one vector of logits per text."""
