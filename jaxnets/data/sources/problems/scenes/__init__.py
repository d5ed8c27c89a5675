"""Scenes of shapes with sentences: images, grammar and a checker."""
