"""Metrics, progress, profiles and operation counts."""
