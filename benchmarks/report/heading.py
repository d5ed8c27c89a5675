"""Headings of the sections of the report."""

from typing import Any

TITLES = {
    "cpu": "LSTM, GRU and Elman layers",
    "cpu_memory": "LSTM over 4096 steps",
    "gpu": "LSTM, GRU and Elman layers on a GPU",
    "variants": "Peepholes, lengths and resets",
    "long": "Up to a million steps",
    "linear": "Linear cells",
    "launches": "Kernel launches on a GPU",
    "tiles": "Tiles of the persistent kernel",
    "attention": "Attention and transformer blocks",
    "decoder": "A decoder",
    "sets": "Histograms and set attention",
    "convolution": "Images per second",
    "windows": "Sliding windows",
    "crf": "Conditional random fields",
    "scaling": "Training on simulated devices",
}


def heading(name: str, result: dict[str, Any]) -> list[str]:
    """Returns a heading with the device, the command and the versions of a result."""
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    device = f"{result['device']}, {result['cores']} cores. Python {result['python']}, {versions}."
    return [f"### {TITLES.get(name, name)}", "", f"`{result['command']}`", "", device, ""]
