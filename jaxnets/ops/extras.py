"""Optional dependencies: the packages of each extra, and the error where one is missing."""

import importlib.util
import sys

# Packages by the extra of pyproject.toml that installs them: what is imported, and what pip calls it.
EXTRAS = {
    "train": {
        "PIL": "pillow",
        "flatbuffers": "flatbuffers",
        "grain": "grain",
        "matplotlib": "matplotlib",
        "ml_collections": "ml_collections",
        "sklearn": "scikit-learn",
        "tensorboardX": "tensorboardX",
        "tqdm": "tqdm",
    },
    "text": {"sacrebleu": "sacrebleu", "tokenizers": "tokenizers"},
    "mnist1d": {"mnist1d": "mnist1d"},
}


class MissingExtraError(ModuleNotFoundError):
    """The error of a module or function that needs an extra which is not installed."""


def require(module: str, extra: str) -> None:
    """Checks that the packages of an extra are installed. None of them is imported.

    Args:
        module: Name of the module that needs them, for the message.
        extra: Name of the extra.

    Raises:
        MissingExtraError: One is missing: "jaxnets.data needs grain: pip install 'jaxnets[train]'".
    """
    missing = [name for name in EXTRAS[extra] if not _is_installed(name)]
    if missing:
        packages = ", ".join(EXTRAS[extra][name] for name in missing)
        raise MissingExtraError(f"{module} needs {packages}: pip install 'jaxnets[{extra}]'", name=missing[0])


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None  # None: its import is forbidden
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a finder that refuses it
        return False
