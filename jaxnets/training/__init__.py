"""Training: configs, state, loop, checkpoints and metric writers."""

from jaxnets.ops import extras

extras.require(__name__, "train")
