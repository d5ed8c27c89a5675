"""Adversarial training: players, evaluators and reports."""
