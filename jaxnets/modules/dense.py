"""Dense layers of Linen with the fast CPU gradients of ``ops.products``."""

import functools

from flax import linen as nn

from jaxnets.ops.products import dot_general

Dense = functools.partial(nn.Dense, dot_general=dot_general)
DenseGeneral = functools.partial(nn.DenseGeneral, dot_general=dot_general)
