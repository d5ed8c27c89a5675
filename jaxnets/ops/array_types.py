"""Array types from jaxtyping, with a glossary of axis names.

A type states the dtype and the axes of an array. Equal names within one signature are equal sizes::

    def attend(query: Float[Array, "*batch T D"], key: Float[Array, "*batch S D"]) -> Float[Array, "*batch T S"]: ...

The axes of a one-dimensional array start with a space, ``Float[Array, " D"]``, because linters mistake a single quoted
word for a class name. A scalar is ``Float[Array, ""]``. ``Integer`` includes unsigned integers, ``Int`` does not.
``ArrayLike`` includes Python numbers. At run time ``Array`` includes NumPy arrays, as the functions do.

==============  ========================================================================
axis            meaning
==============  ========================================================================
``B``           batch: examples
``*batch``      any number of leading batch axes, possibly none
``...``         any axes that the rest of the signature does not refer to
``T``           time: steps of a sequence; queries
``S``           source: steps of keys and values
``D``           features of a step, an element, a row or one head
``E``           features of a value, if different from those of its key
``F``           features of a result, if different from those of the argument
``hidden``      hidden units of a recurrent cell
``gates``       hidden units of all gates of a cell: ``4 * hidden`` for an LSTM
``heads``       attention heads of queries
``kv_heads``    attention heads of keys and values
``H W C``       height, width and channels of an image
``N``           elements of a padded set; nodes of a padded graph
``M``           elements of all sets of a batch, concatenated (``Segments``)
``*sets``       sets of a batch: ``*batch`` for padded sets, one axis for ``Segments``
``K``           components of a mixture, bins of a histogram, quantiles, seeds
``V``           vocabulary: rows of an embedding table
``classes``     classes
``latent``      latent variables
==============  ========================================================================

Axes that are not listed are spelled out in lower case (``layers``, ``points``). A ``#`` before a name also allows size
1 (``Bool[Array, "*#batch #heads T S"]``). A mask that may have fewer axes is ``Bool[Array, "..."]``.
"""

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Inexact, Int, Integer, Key, Num, PyTree, Shaped

if TYPE_CHECKING:
    from jax import Array
else:
    Array = jax.Array | np.ndarray

__all__ = ["Array", "ArrayLike", "Bool", "Float", "Inexact", "Int", "Integer", "Key", "Num", "PyTree", "Shaped"]
