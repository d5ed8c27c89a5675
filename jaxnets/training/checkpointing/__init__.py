"""Checkpoints: saving, verification, retention and initialization from other runs."""
