"""Parameters come out in float32, or in float64 where they were; other dtypes are refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxnets import convolution, weights

HALF = ["float16", "bfloat16"]
FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
LOW = [*HALF, *FLOAT8]
KEEP = ["float32", "float64"]
OTHER = ["int8", "uint8", "int32", "int64", "bool", "complex64"]
NETWORK = convolution.VGG((1, 1, 1, 1, 1), num_classes=2, dense=4)
SHAPES = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,)}


def dtype_of(name):
    return np.dtype(getattr(jnp, name) if name in LOW else name)


def numbers(shape, dtype):
    """Normal numbers, rounded to the dtype."""
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype_of(dtype))


def lstm(dtype):
    return {name: numbers(shape, dtype) for name, shape in SHAPES.items()}


def as_file(arrays, folder):
    weights.write(folder / "weights.safetensors", arrays)
    return folder / "weights.safetensors"


def check_lstm(params, dtype, found):
    """Against the same numbers in float64, rounded once."""
    wide = np.float64 if dtype == "float64" else np.float32
    exact = {name: array.astype(np.float64) for name, array in found.items()}
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(wide)}
    cell = params["layer_0"]["cell"]
    np.testing.assert_array_equal(cell["input"]["kernel"], exact["weight_ih_l0"].T.astype(wide))
    np.testing.assert_array_equal(cell["recurrent"]["kernel"], exact["weight_hh_l0"].T.astype(wide))
    np.testing.assert_array_equal(cell["input"]["bias"], (exact["bias_ih_l0"] + exact["bias_hh_l0"]).astype(wide))


@pytest.mark.parametrize("dtype", [*LOW, *KEEP])
@pytest.mark.parametrize("form", ["file", "numpy", "jax", "torch"])
def test_recurrent_weights(form, dtype, tmp_path, request):
    request.getfixturevalue("float64")
    found = lstm(dtype)
    if form == "torch":
        torch = pytest.importorskip("torch")
        given = {
            name: torch.from_numpy(array.astype(np.float64)).to(getattr(torch, dtype)) for name, array in found.items()
        }
    else:
        given = {"file": lambda: as_file(found, tmp_path), "numpy": lambda: found}.get(
            form, lambda: jax.tree.map(jnp.asarray, found)
        )()
    check_lstm(weights.from_torch(given), dtype, found)


@pytest.mark.parametrize("dtype", [*LOW, *KEEP])
def test_keras_weights(dtype):
    found = {"kernel": (3, 9), "recurrent_kernel": (3, 9), "bias": (2, 9)}
    found = {name: numbers(shape, dtype) for name, shape in found.items()}
    params = weights.from_keras([found])
    wide = np.float64 if dtype == "float64" else np.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(wide)}
    back = weights.to_keras(params)[0]
    for name, array in found.items():
        np.testing.assert_array_equal(back[name], array.astype(wide))


@pytest.fixture(scope="module")
def zeros():
    """The variables of a small VGG."""
    shapes = jax.eval_shape(lambda: NETWORK.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float64"])
def test_convolutional_weights(dtype, zeros, tmp_path):
    state = {name: numbers(array.shape, dtype) for name, array in weights.to_torchvision(zeros, NETWORK).items()}
    variables = weights.from_torchvision(as_file(state, tmp_path), NETWORK)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    back = weights.to_torchvision(variables, NETWORK)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array.astype(np.float32))
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), zeros)
    assert {leaf.dtype for leaf in weights.to_torchvision(half, NETWORK).values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", OTHER)
@pytest.mark.parametrize("form", ["file", "numpy"])
def test_other_dtypes_are_refused_by_name(form, dtype, zeros, tmp_path):
    given = lambda arrays: as_file(arrays, tmp_path) if form == "file" else arrays
    wrong = {**lstm("float32"), "bias_hh_l0": np.ones(8, dtype)}
    with pytest.raises(ValueError, match=f"bias_hh_l0 must be an array of floating-point numbers, got {dtype}"):
        weights.from_torch(given(wrong))
    state = {**weights.to_torchvision(zeros, NETWORK), "classifier.6.bias": np.ones(2, dtype)}
    with pytest.raises(ValueError, match=f"classifier.6.bias must be an array of floating-point .* got {dtype}"):
        weights.from_torchvision(given(state), NETWORK)
    layer = {"kernel": np.ones((3, 8)), "recurrent_kernel": np.ones((2, 8)), "bias": np.ones(8, dtype)}
    with pytest.raises(ValueError, match=f"layer_0: bias must be an array of floating-point numbers, got {dtype}"):
        weights.from_keras([layer])
    ours = {"layer_0": {"cell": {"input": {"kernel": np.ones((3, 8)), "bias": np.ones(8, dtype)}, "recurrent": {}}}}
    for convert in (weights.to_torch, weights.to_keras):
        with pytest.raises(ValueError, match=f"input/bias must be an array of floating-point numbers, got {dtype}"):
            convert(ours)


TENSORS = {
    "int8": lambda torch, t: t.to(torch.int8),
    "complex64": lambda torch, t: t.to(torch.complex64),
    "sparse tensor of torch.float32": lambda torch, t: t.to_sparse(),
    "meta tensor of torch.float32": lambda torch, t: t.to("meta"),
    "quantized tensor of torch.qint8": lambda torch, t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "torch.float4_e2m1fn_x2": lambda torch, t: t.to(torch.uint8).view(torch.float4_e2m1fn_x2),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("given", TENSORS)
def test_other_tensors_are_refused_by_name(given):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in lstm("float32").items()}
    state["bias_ih_l0"] = TENSORS[given](torch, state["bias_ih_l0"])
    with pytest.raises(ValueError, match=f"bias_ih_l0 must be .*{given}"):
        weights.from_torch(state)


def test_what_is_converted_does_not_follow_its_source():
    found = lstm("float32")
    params = weights.from_torch(found)
    before = jax.tree.map(np.copy, params)
    for array in found.values():
        array += 1
    jax.tree.map(np.testing.assert_array_equal, params, before)


@pytest.mark.parametrize("dtype", [*LOW, "float8_e8m0fnu", *KEEP, *OTHER])
def test_a_file_keeps_dtypes(dtype, tmp_path):
    array = np.arange(6).reshape(2, 3).astype(getattr(jnp, dtype, dtype))
    tree = {"a": {"b": array, "empty": array[:0]}, "scalar": array[1, 1], "transposed": array.T}
    weights.write(tmp_path / "w", tree)
    found = flatten_dict(weights.read(tmp_path / "w"))
    for path, value in flatten_dict(tree).items():
        assert found[path].dtype == array.dtype
        assert found[path].shape == np.shape(value)
        assert found[path].tobytes() == np.asarray(value, order="C").tobytes()
