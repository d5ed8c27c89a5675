"""Array types from jaxtyping, and the glossary of the axis names in them.

A type states the dtype and the axes of an array. Equal names within one signature are equal sizes::

    def attend(query: Float[Array, "*batch T D"], key: Float[Array, "*batch S D"]) -> Float[Array, "*batch T S"]: ...

A type of one axis begins with a space, ``Float[Array, " D"]``: linters take a lone word in quotes for the name of a
class. A scalar is ``Float[Array, ""]``. ``Integer`` takes unsigned integers too, which ``Int`` does not; ``ArrayLike``
takes Python numbers too, and ``Array``, when types are checked at run time, NumPy arrays: so do all functions.

==============  ========================================================================
axis            meaning
==============  ========================================================================
``B``           batch: examples
``*batch``      any number of leading batch axes, none included
``...``         any axes, which nothing else in the signature refers to
``T``           time: steps of a sequence; queries
``S``           source: steps that another sequence attends to; keys and values
``D``           features of a step, an element, a row or one head
``E``           features of a value, where they differ from those of its key
``F``           features of a result, where they differ from those of the argument
``hidden``      hidden units of a recurrent cell
``gates``       hidden units of all gates of a cell: ``4 * hidden`` for an LSTM
``heads``       attention heads of queries
``kv_heads``    attention heads of keys and values
``H W C``       height, width and channels of an image
``N``           elements of a padded set; nodes of a padded graph
``M``           elements of all sets of a batch, one after the other (``Segments``)
``*sets``       sets of a batch: ``*batch`` where they are padded, one axis where they are ``Segments``
``K``           components of a mixture, bins of a histogram, quantiles, seeds
``V``           vocabulary: rows of an embedding table
``classes``     classes
``latent``      latent variables
==============  ========================================================================

An axis without a name of its own is spelled out in lower case (``layers``, ``points``). ``#`` before a name lets its
size be 1 (``Bool[Array, "*#batch #heads T S"]``); a mask that may have fewer axes is ``Bool[Array, "..."]``.
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
