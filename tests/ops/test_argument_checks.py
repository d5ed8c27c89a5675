"""Argument checks and their messages, activations, masked sums, and imports of files of functions."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnets
from jaxnets.ops import checks
from jaxnets.ops.activations import activation
from jaxnets.ops.masks import masked_mean, masked_sum

INVALID = {
    "small integer": (
        lambda: checks.check_integer("size", 0),
        r"`size` must be an integer of at least 1, got 0",
    ),
    "float": (lambda: checks.check_integer("size", 1.5), "`size` must be an integer of at least 1, got 1.5"),
    "bool": (lambda: checks.check_integer("size", True), "`size` must be an integer .*, got True"),
    "list": (lambda: checks.check_integer("size", [4]), r"`size` must be an integer .*, got \[4\]"),
    "array": (
        lambda: checks.check_integer("size", np.ones(3, int)),
        r"`size` must be an integer .*, got int64 of shape \(3,\)",
    ),
    "probability of 1": (
        lambda: checks.check_probability("rate", 1.0),
        r"`rate` must be a number in \[0, 1\), got 1.0",
    ),
    "probability as string": (lambda: checks.check_probability("rate", "0.1"), "`rate` must be a number .*, got '0.1'"),
    "fraction of 0": (
        lambda: checks.check_fraction("fraction", 0),
        "`fraction` must be a number between 0 and 1, got 0",
    ),
    "fraction of NaN": (lambda: checks.check_fraction("fraction", float("nan")), "`fraction` must be .*, got nan"),
    "small number": (lambda: checks.check_number("t", -1), "`t` must be a number of at least 0, got -1"),
    "number of None": (lambda: checks.check_number("t", None), "`t` must be a number of at least 0, got None"),
    "unknown choice": (
        lambda: checks.check_choice("how", "sum", ("last", "max")),
        "`how` must be one of last, max, got 's",
    ),
    "choice of 3": (lambda: checks.check_choice("how", 3, ("last", "max")), "`how` must be one of last, max, got 3"),
    "divisor": (
        lambda: checks.check_divisor("num_heads", 3, "embed_dim", 8),
        "`num_heads` must be a divisor of `embed_dim`, 8, got 3",
    ),
    "integer array": (
        lambda: checks.check_floating("xs", np.ones((2, 3), np.int32), "[T, D]", 2),
        r"`xs` must be a floating point array \[T, D\], got int32 of shape \(2, 3\)",
    ),
    "scalar": (lambda: checks.check_floating("xs", 3.0, "[T, D]", 2), "`xs` must be .*, got float"),
    "float lengths": (
        lambda: checks.checked_integers("lengths", np.ones((4, 1), np.float32), (4,), 9),
        r"`lengths` must be integers of shape \(4,\), got float32 of shape \(4, 1\)",
    ),
    "large length": (
        lambda: checks.checked_integers("lengths", np.array([3, 10]), (2,), 9),
        "`lengths` must be from 0 to 9, got 10",
    ),
    "depth": (lambda: checks.check_depth(layers=1001), "`layers` must be an integer of at most 1000, got 1001"),
    "total depth": (lambda: checks.check_depths(blocks=(600, 600)), "the sum of `blocks` must be .*, got 1200"),
    "widths as string": (lambda: checks.check_layer_sizes(widths="ab"), "`widths` must be a sequence, got 'ab'"),
    "activation": (lambda: activation("sin"), "`activation` must be one of relu, tanh, gelu, elu, silu, got 'sin'"),
}


@pytest.mark.parametrize("call, message", INVALID.values(), ids=INVALID)
def test_invalid_argument_is_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_valid_arguments_are_accepted():
    checks.check_integer("size", np.int64(3))
    checks.check_integer("size", jnp.int32(0), minimum=0)
    checks.check_probability("rate", np.float32(0))
    checks.check_probability("rate", jnp.float32(0.5))
    checks.check_number("t", jnp.float32(2))
    checks.check_divisor("num_heads", 4, "embed_dim", 8)
    lengths = checks.checked_integers("lengths", 3, (2,), 9)
    assert lengths.dtype == jnp.int32 and lengths.tolist() == [3, 3]
    assert activation("silu") is jax.nn.silu


def test_masked_sum_and_mean_ignore_nan_in_padding():
    values, mask = jnp.array([[1.0, jnp.nan], [2.0, 4.0]]), jnp.array([[True, False], [True, True]])
    assert masked_sum(values, mask) == 7
    assert masked_sum(values, mask, axis=0).tolist() == [3, 4]
    assert masked_mean(values, mask, axis=1).tolist() == [1, 3]
    assert masked_mean(values, jnp.zeros_like(mask)) == 0


def test_files_of_functions_do_not_import_flax():
    root = Path(jaxnets.__file__).parent
    functions = [
        *root.glob("ops/*.py"),
        *root.glob("decoding/*.py"),
        *(root / "sets" / f"{name}.py" for name in ("gaussian", "histogram", "norms", "pooling", "streaming")),
        *(
            root / "attention" / f"{name}.py"
            for name in ("chunked", "dot_product", "masking", "positions", "unstacking")
        ),
        *(
            root / "convolution" / f"{name}.py"
            for name in ("branches", "convolve", "normalization", "pooling", "resizing")
        ),
    ]
    for file in functions:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(module.split(".")[0] == "flax" for module in modules), file
