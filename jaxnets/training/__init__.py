"""Training: configs, state, loop, checkpoints and reporting."""

from jaxnets.ops.host import extras

extras.require(__name__, "train")
