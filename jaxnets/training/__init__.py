"""Training: configs, state, loop, checkpoints and reporting."""

from jaxnets.ops import extras

extras.require(__name__, "train")
