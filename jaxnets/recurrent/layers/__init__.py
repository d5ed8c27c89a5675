"""Layers of recurrent networks: both directions, stacks, pooling, and Linen modules."""
