"""Normal examples to train on, and test examples with anomalies."""
