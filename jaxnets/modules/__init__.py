"""Linen modules that the families share."""

from jaxnets.modules.mlp import MLP

__all__ = ["MLP"]
