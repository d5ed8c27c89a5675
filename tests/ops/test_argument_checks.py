"""Checks of arguments, by their messages; activations by name; and what files of functions import."""

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

WRONG = {
    "an integer too small": (
        lambda: checks.check_integer("size", 0),
        r"`size` must be an integer of at least 1, got 0",
    ),
    "a fraction": (lambda: checks.check_integer("size", 1.5), "`size` must be an integer of at least 1, got 1.5"),
    "a truth value": (lambda: checks.check_integer("size", True), "`size` must be an integer .*, got True"),
    "a list": (lambda: checks.check_integer("size", [4]), r"`size` must be an integer .*, got \[4\]"),
    "an array": (
        lambda: checks.check_integer("size", np.ones(3, int)),
        r"`size` must be an integer .*, got int64 of shape \(3,\)",
    ),
    "a rate of 1": (lambda: checks.check_rate("rate", 1.0), "`rate` must be a number from 0 to below 1, got 1.0"),
    "a rate as text": (lambda: checks.check_rate("rate", "0.1"), "`rate` must be a number .*, got '0.1'"),
    "a part of 0": (lambda: checks.check_part("part", 0), "`part` must be a number between 0 and 1, got 0"),
    "a part that is NaN": (lambda: checks.check_part("part", float("nan")), "`part` must be .*, got nan"),
    "a number below": (lambda: checks.check_number("t", -1), "`t` must be a number of at least 0, got -1"),
    "no number": (lambda: checks.check_number("t", None), "`t` must be a number of at least 0, got None"),
    "another name": (
        lambda: checks.check_choice("how", "sum", ("last", "max")),
        "`how` must be one of last, max, got 's",
    ),
    "no name": (lambda: checks.check_choice("how", 3, ("last", "max")), "`how` must be one of last, max, got 3"),
    "no divisor": (
        lambda: checks.check_divisor("heads", 3, "the width", 8),
        "`heads` must be a divisor of the width, 8, got 3",
    ),
    "integers": (
        lambda: checks.check_floating("xs", np.ones((2, 3), np.int32), "[T, D]", 2),
        r"`xs` must be a floating point array \[T, D\], got int32 of shape \(2, 3\)",
    ),
    "no array": (lambda: checks.check_floating("xs", 3.0, "[T, D]", 2), "`xs` must be .*, got float"),
    "lengths of floats": (
        lambda: checks.checked_integers("lengths", np.ones((4, 1), np.float32), (4,), 9),
        r"`lengths` must be integers of shape \(4,\), got float32 of shape \(4, 1\)",
    ),
    "a length too large": (
        lambda: checks.checked_integers("lengths", np.array([3, 10]), (2,), 9),
        "`lengths` must be from 0 to 9, got 10",
    ),
    "many layers": (lambda: checks.check_depth(layers=1001), "`layers` must be an integer of at most 1000, got 1001"),
    "many layers in all": (lambda: checks.check_depths(blocks=(600, 600)), "the sum of `blocks` must be .*, got 1200"),
    "a text of widths": (lambda: checks.check_lengths(widths="ab"), "`widths` must be a sequence, got 'ab'"),
    "an activation": (lambda: activation("sin"), "`activation` must be one of relu, tanh, gelu, elu, silu, got 'sin'"),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_fits_passes():
    checks.check_integer("size", np.int64(3))
    checks.check_integer("size", jnp.int32(0), least=0)
    checks.check_rate("rate", np.float32(0))
    checks.check_rate("rate", jnp.float32(0.5))
    checks.check_number("t", jnp.float32(2))
    checks.check_divisor("heads", 4, "the width", 8)
    found = checks.checked_integers("lengths", 3, (2,), 9)
    assert found.dtype == jnp.int32 and found.tolist() == [3, 3]
    assert activation("silu") is jax.nn.silu


def test_masked_sums_over_an_axis_leave_out_what_is_not_real():
    values, mask = jnp.array([[1.0, jnp.nan], [2.0, 4.0]]), jnp.array([[True, False], [True, True]])
    assert masked_sum(values, mask) == 7
    assert masked_sum(values, mask, axis=0).tolist() == [3, 4]
    assert masked_mean(values, mask, axis=1).tolist() == [1, 3]
    assert masked_mean(values, jnp.zeros_like(mask)) == 0


def test_files_of_functions_import_no_flax():
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
