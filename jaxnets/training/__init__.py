"""Training: configs, state, loop, checkpoints and metric writers."""
