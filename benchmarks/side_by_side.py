"""Comparison of several implementations: time and memory of the forward pass and of the gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness

Cases = dict[str, Callable[[], harness.Case]]  # factories by name


def work(f: Callable, which: str, count: int) -> Callable:
    """Returns ``f``, or the gradient of the sum of its squared outputs in the first ``count`` arguments."""
    if which == "forward":
        return f
    return jax.grad(lambda *arguments: jnp.sum(f(*arguments).astype(jnp.float32) ** 2), tuple(range(count)))


def torch_case(make: Callable, which: str, *arrays: jax.Array) -> harness.Case:
    """Returns a case for PyTorch. ``make(torch, options)`` returns a function of tensors and its module or None."""
    import torch

    cuda = jax.default_backend() == "gpu"
    if cuda and not torch.cuda.is_available():
        raise ImportError("torch was built without CUDA")
    device, dtype = "cuda" if cuda else "cpu", getattr(torch, arrays[0].dtype.name)
    tensors = [torch.from_numpy(np.array(a, np.float32)).to(device, dtype) for a in arrays]
    wait = torch.cuda.synchronize if cuda else lambda: None
    f, module = make(torch, dict(device=device, dtype=dtype))
    if which == "gradient":
        tensors = [tensor.requires_grad_(True) for tensor in tensors]

    def forward() -> None:
        with torch.inference_mode():
            f(*tensors)
        wait()

    def gradient() -> None:
        for tensor in tensors:
            tensor.grad = None
        if module is not None:
            module.zero_grad(set_to_none=True)
        (f(*tensors).float() ** 2).sum().backward()
        wait()

    return harness.Case(forward if which == "forward" else gradient)


def side_by_side(title: str, make: Callable[[str], Cases], *, rounds: int, memory_mb: float = np.inf) -> dict[str, Any]:
    """Times the cases of the passes ``"forward"`` and ``"gradient"`` and prints the results.

    Args:
        title: The title to print.
        make: Maps a pass to factories of cases. A factory raises ``ImportError`` if its library is not installed.
        rounds: Number of rounds.
        memory_mb: Cases with more temporary memory are not run.

    Returns:
        ``{"forward": {name: {"ms", "mb"}}, "gradient": ...}`` and the number of disturbed rounds of each pass.
    """
    result: dict[str, Any] = {}
    for which in ("forward", "gradient"):
        cases: dict[str, harness.Case] = {}
        for name, case in make(which).items():
            try:
                cases[name] = case()
            except ImportError:
                continue
        memory = {
            name: None if case.temporary_bytes is None else case.temporary_bytes / 2**20 for name, case in cases.items()
        }
        runs = {name: case for name, case in cases.items() if (memory[name] or 0) <= memory_mb}
        timings, result[which + "_disturbed"] = harness.interleaved(runs, rounds)
        result[which] = {
            name: {"ms": timings[name].ms if name in timings else None, "mb": memory[name]} for name in cases
        }
        print(f"\n{title}, {which}")
        for name, figures in result[which].items():
            time = "not run" if figures["ms"] is None else f"{figures['ms']:.2f} ms"
            space = "" if figures["mb"] is None else f"{figures['mb']:.1f} MB"
            print(f"{name:<20}{time:>14}{space:>14}", flush=True)
    return result
