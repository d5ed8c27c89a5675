"""Exported functions: artifacts, their folder, preprocessing of raw inputs."""
