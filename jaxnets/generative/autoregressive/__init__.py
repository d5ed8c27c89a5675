"""Autoregressive models of images."""
