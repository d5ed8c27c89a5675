"""Reporting: metrics, progress, profiles and operation counts."""
