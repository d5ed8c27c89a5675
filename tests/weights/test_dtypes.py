"""Dtypes of converted weights: float32 or float64; other dtypes are rejected."""

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
NETWORK = convolution.VGG((1, 1, 1, 1, 1), num_classes=2, dense_features=4)
SHAPES = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,)}


def dtype_of(name):
    return np.dtype(getattr(jnp, name) if name in LOW else name)


def normal(shape, dtype):
    """Normal values, rounded to the dtype."""
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype_of(dtype))


def lstm(dtype):
    return {name: normal(shape, dtype) for name, shape in SHAPES.items()}


def as_file(arrays, folder):
    weights.write(folder / "weights.safetensors", arrays)
    return folder / "weights.safetensors"


def check_lstm(params, dtype, state):
    """Compares parameters with a state dict computed in float64 and rounded once."""
    result_dtype = np.float64 if dtype == "float64" else np.float32
    exact = {name: array.astype(np.float64) for name, array in state.items()}
    bias = exact["bias_ih_l0"] + exact["bias_hh_l0"]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(result_dtype)}
    cell = params["layer_0"]["cell"]
    np.testing.assert_array_equal(cell["input"]["kernel"], exact["weight_ih_l0"].T.astype(result_dtype))
    np.testing.assert_array_equal(cell["recurrent"]["kernel"], exact["weight_hh_l0"].T.astype(result_dtype))
    np.testing.assert_array_equal(cell["input"]["bias"], bias.astype(result_dtype))


@pytest.mark.parametrize("dtype", [*LOW, *KEEP])
@pytest.mark.parametrize("form", ["file", "numpy", "jax", "torch"])
def test_torch_weights_become_float32_or_float64(form, dtype, tmp_path, request):
    request.getfixturevalue("float64")
    state = lstm(dtype)
    if form == "torch":
        torch = pytest.importorskip("torch")
        given = {
            name: torch.from_numpy(array.astype(np.float64)).to(getattr(torch, dtype)) for name, array in state.items()
        }
    else:
        given = {"file": lambda: as_file(state, tmp_path), "numpy": lambda: state}.get(
            form, lambda: jax.tree.map(jnp.asarray, state)
        )()
    check_lstm(weights.from_torch(given), dtype, state)


@pytest.mark.parametrize("dtype", [*LOW, *KEEP])
def test_keras_weights_become_float32_or_float64(dtype):
    shapes = {"kernel": (3, 9), "recurrent_kernel": (3, 9), "bias": (2, 9)}
    layer = {name: normal(shape, dtype) for name, shape in shapes.items()}
    params = weights.from_keras([layer])
    result_dtype = np.float64 if dtype == "float64" else np.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(result_dtype)}
    converted = weights.to_keras(params)[0]
    for name, array in layer.items():
        np.testing.assert_array_equal(converted[name], array.astype(result_dtype))


@pytest.fixture(scope="module")
def zeros():
    """Variables of a small VGG, all zero."""
    shapes = jax.eval_shape(lambda: NETWORK.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn", "float64"])
def test_torchvision_weights_become_float32(dtype, zeros, tmp_path):
    state = {name: normal(array.shape, dtype) for name, array in weights.to_torchvision(zeros, NETWORK).items()}
    variables = weights.from_torchvision(as_file(state, tmp_path), NETWORK)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    converted = weights.to_torchvision(variables, NETWORK)
    for name, array in state.items():
        np.testing.assert_array_equal(converted[name], array.astype(np.float32))
    half = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), zeros)
    assert {leaf.dtype for leaf in weights.to_torchvision(half, NETWORK).values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", OTHER)
@pytest.mark.parametrize("form", ["file", "numpy"])
def test_other_dtypes_are_rejected(form, dtype, zeros, tmp_path):
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
    params = {"layer_0": {"cell": {"input": {"kernel": np.ones((3, 8)), "bias": np.ones(8, dtype)}, "recurrent": {}}}}
    for convert in (weights.to_torch, weights.to_keras):
        with pytest.raises(ValueError, match=f"input/bias must be an array of floating-point numbers, got {dtype}"):
            convert(params)


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
def test_other_tensors_are_rejected(given):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in lstm("float32").items()}
    state["bias_ih_l0"] = TENSORS[given](torch, state["bias_ih_l0"])
    with pytest.raises(ValueError, match=f"bias_ih_l0 must be .*{given}"):
        weights.from_torch(state)


def test_converted_weights_are_copies():
    state = lstm("float32")
    params = weights.from_torch(state)
    before = jax.tree.map(np.copy, params)
    for array in state.values():
        array += 1
    jax.tree.map(np.testing.assert_array_equal, params, before)


@pytest.mark.parametrize("dtype", [*LOW, "float8_e8m0fnu", *KEEP, *OTHER])
def test_files_preserve_dtypes(dtype, tmp_path):
    array = np.arange(6).reshape(2, 3).astype(getattr(jnp, dtype, dtype))
    tree = {"a": {"b": array, "empty": array[:0]}, "scalar": array[1, 1], "transposed": array.T}
    weights.write(tmp_path / "w", tree)
    found = flatten_dict(weights.read(tmp_path / "w"))
    for path, value in flatten_dict(tree).items():
        assert found[path].dtype == array.dtype
        assert found[path].shape == np.shape(value)
        assert found[path].tobytes() == np.asarray(value, order="C").tobytes()
