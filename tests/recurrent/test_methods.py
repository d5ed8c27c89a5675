"""Method objects of ``scan``: options, checks and custom methods."""

import ast
import dataclasses
import functools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import pytest
from all_cells import CELLS, gradient, problem

from jaxnets import recurrent
from jaxnets.recurrent import methods
from jaxnets.recurrent.executors.steps import StepMasks, masked_step
from jaxnets.training import build

OBJECTS = {
    "sequential": recurrent.Sequential(),
    "associative": recurrent.Associative(),
    "newton": recurrent.Newton(),
    "cudnn": recurrent.CuDNN(),
    "persistent": recurrent.Persistent(),
    "autodiff": recurrent.Autodiff(),
}
OPTIONS = {
    "sequential": ["chunk", "keep", "unroll"],
    "associative": ["chunk", "keep"],
    "newton": ["tolerance", "max_iterations", "dense", "block", "warn", "chunk", "keep"],
    "cudnn": [],
    "persistent": ["chunk", "sizes", "interpret"],
    "autodiff": ["unroll"],
}


@pytest.mark.parametrize("name", OBJECTS)
def test_names_are_methods_with_default_options(name):
    method = OBJECTS[name]
    assert methods.resolve_method(CELLS["lstm"], name) == method
    assert [field.name for field in dataclasses.fields(method)] == OPTIONS[name]
    assert isinstance(method, recurrent.Method) and {method: name}[type(method)()] == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.chunk = 3


def test_methods_compare_by_class_and_options():
    assert recurrent.CuDNN() != recurrent.Persistent()
    assert recurrent.Sequential(4) == recurrent.Sequential(chunk=4) != recurrent.Associative(4)


@pytest.mark.parametrize("name", ["sequential", "newton", "autodiff", "associative"])
def test_names_and_objects_give_equal_results(name):
    cell = CELLS["min gru"]
    arguments = problem(cell, 13)
    options = dict(lengths=jnp.array([13, 5, 0]))
    of = lambda method: gradient(cell, method=method, **options)(*arguments)
    chex.assert_trees_all_equal(of(name), of(OBJECTS[name]))


WRONG = {
    "chunk of none": (recurrent.Sequential, dict(chunk=0), "`chunk` must be an integer of at least 1, got 0"),
    "chunk of a fraction": (recurrent.Sequential, dict(chunk=2.5), "`chunk` must be an integer of at least 1, got 2.5"),
    "chunk as a string": (recurrent.Associative, dict(chunk="2"), "`chunk` must be an integer of at least 1, got '2'"),
    "chunk of a kernel": (recurrent.Persistent, dict(chunk=-1), "`chunk` must be an integer of at least 1, got -1"),
    "keep": (
        recurrent.Sequential,
        dict(keep="all"),
        "`keep` must be one of carries, boundaries, products, None, got 'all'",
    ),
    "keep of blocks": (
        recurrent.Associative,
        dict(keep="products"),
        "`keep` must be one of carries, boundaries, got 'products'",
    ),
    "unroll": (recurrent.Sequential, dict(unroll=0), "`unroll` must be an integer of at least 1, got 0"),
    "unroll of a scan": (recurrent.Autodiff, dict(unroll="2"), "`unroll` must be an integer of at least 1, got '2'"),
    "sizes": (recurrent.Persistent, dict(sizes=8), r"`sizes` must be a pair \(rows, units\) or None, got 8"),
}


@pytest.mark.parametrize("kind, options, message", WRONG.values(), ids=WRONG)
def test_wrong_options_are_rejected(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)
    with pytest.raises(ValueError, match=message):
        methods.resolve_method(CELLS["gru"], functools.partial(kind, **options))


def test_class_that_requires_arguments_is_rejected():
    class Needy:
        def __init__(self, needed):
            pass

    with pytest.raises(ValueError, match="`method` must be a method or a class that makes one.*needed"):
        methods.resolve_method(CELLS["gru"], Needy)


@dataclasses.dataclass(frozen=True)
class Loop:
    """A custom method: a Python loop without resets."""

    steps: int = 100

    def check(self, cell, traversal, control):
        if control.reset is not None:
            raise ValueError("Loop cannot serve resets")

    def run(self, cell, traversal, arguments):
        params, xs, carry, initial, control = arguments
        rest = {name: value for name, value in params.items() if name not in ("input", "recurrent")}
        dot = lambda name, h: cell.product(params["recurrent"][name], h.astype(traversal.dtype))
        step = masked_step(cell, rest, dot, traversal.dtype)
        length, ys = xs.shape[traversal.axis], {}
        if length > self.steps:
            raise ValueError(f"Loop runs {self.steps} steps at most")
        at = lambda a, t: jax.lax.index_in_dim(a, t, traversal.axis, keepdims=False)
        for t in reversed(range(length)) if traversal.reverse else range(length):
            step_masks = StepMasks(*(None if mask is None else at(mask, t) for mask in control))
            carry, ys[t] = step(carry, cell.project(params["input"], at(xs, t)), step_masks, initial)
        return carry, jnp.stack([ys[t] for t in range(length)], traversal.axis)


@pytest.mark.parametrize("options", [{}, dict(lengths=jnp.array([5, 2, 0]), reverse=True)], ids=["plain", "ragged"])
def test_custom_method(options):
    params, xs, carry = problem(CELLS["lstm"], 5)
    run = lambda method, **more: recurrent.scan(CELLS["lstm"], params, xs, carry, method=method, **options, **more)
    chex.assert_trees_all_close(run(Loop()), run("sequential"), atol=1e-6)
    chex.assert_trees_all_close(run(Loop), run(Loop()), atol=0)
    with pytest.raises(ValueError, match="Loop runs 3 steps at most"):
        run(Loop(3))
    with pytest.raises(ValueError, match="Loop cannot serve resets"):
        run(Loop(), resets=jnp.zeros((3, 5), bool))


def test_layer_accepts_a_custom_method():
    params, xs, carry = problem(CELLS["lstm"], 5)
    found = recurrent.RNN(CELLS["lstm"], method=Loop()).apply({"params": {"cell": params}}, xs, carry)
    chex.assert_trees_all_close(found, recurrent.scan(CELLS["lstm"], params, xs, carry), atol=1e-6)


SPEC = {"name": "recurrent.SequenceModel", "cell": "recurrent.gru", "hidden_size": 6, "num_outputs": 2}
CONFIG_METHODS = {
    "a name": "sequential",
    "a class": "recurrent.Sequential",
    "with options": {"name": "recurrent.Sequential", "chunk": 4, "keep": "boundaries"},
}


@pytest.mark.parametrize("method", CONFIG_METHODS.values(), ids=CONFIG_METHODS)
def test_config_specifies_a_method(method):
    xs = jnp.sin(jnp.arange(3 * 7 * 4.0)).reshape(3, 7, 4)
    plain, chosen = build.model(SPEC)(), build.model({**SPEC, "method": method})()
    variables = plain.init(jax.random.key(0), xs)
    chex.assert_trees_all_equal(chosen.init(jax.random.key(0), xs), variables)
    chex.assert_trees_all_close(chosen.apply(variables, xs), plain.apply(variables, xs), atol=1e-6)


FOLDER = Path(recurrent.__file__).parent
FUNCTION_FILES = [path for path in sorted(FOLDER.rglob("*.py")) if path.parent.name not in ("layers", "models")]


@pytest.mark.parametrize("path", FUNCTION_FILES, ids=lambda path: path.stem)
def test_modules_of_functions_import_neither_flax_nor_higher_levels(path):
    above = {
        "cells": ("executors", "experimental", "methods", "scan", "layers", "models"),
        "executors": ("experimental", "methods", "scan", "layers", "models"),
        "experimental": ("methods", "scan", "layers", "models"),
        "recurrent": ("models",),
    }[path.parent.name]
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in names if name.split(".")[0] == "flax"]
    if path.name != "__init__.py":
        assert not [name for name in names if name.startswith(tuple(f"jaxnets.recurrent.{part}" for part in above))]
