"""Optional dependencies: packages of each extra, and the error for a missing one."""

import importlib.util
import sys

# Import names and distribution names of the packages that each extra of pyproject.toml installs.
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
    """A module or function needs an extra that is not installed."""


def require(module: str, extra: str) -> None:
    """Checks that the packages of an extra are installed, without importing them.

    Args:
        module: Name of the module that needs the extra, for the message.
        extra: Name of the extra.

    Raises:
        MissingExtraError: A package is missing: "jaxnets.data needs grain: pip install 'jaxnets[train]'".
    """
    missing = [name for name in EXTRAS[extra] if not _is_installed(name)]
    if missing:
        packages = ", ".join(EXTRAS[extra][name] for name in missing)
        raise MissingExtraError(f"{module} needs {packages}: pip install 'jaxnets[{extra}]'", name=missing[0])


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None  # None blocks the import
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # raised by an import hook that blocks the package
        return False
