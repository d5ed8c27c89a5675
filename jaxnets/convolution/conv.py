"""``flax.linen.Conv``, computed by ``convolve``."""

import functools

from flax import linen as nn

from jaxnets.convolution.convolve import convolve

Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)
