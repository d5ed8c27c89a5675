"""Passages of Python code and of documentation, from the standard library."""

import ast
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxnets.data.checks import check_arguments, one_line_errors
from jaxnets.data.dataset import Dataset
from jaxnets.data.formats.text_files import standard_library
from jaxnets.data.inputs import Texts
from jaxnets.data.sources.texts.examples import LabeledTexts, check_fractions, from_tokens, tokenized
from jaxnets.data.tokens.tokenizer import learn_tokenizer
from jaxnets.ops.checks import check_integer

CODE, PROSE = "code", "prose"
MAX_BYTES = 100_000  # of a module
MAX_PER_MODULE = 20  # passages of each class, so that no module dominates

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_EXAMPLES = (">>>", "::")  # docstrings with these show code


@one_line_errors
def code_or_prose(
    lines: int = 2,
    passages: int = 4000,
    unit: str = "word",
    max_tokens: int = 5000,
    max_length: int = 64,
    buckets: int = 3,
    batch_size: int = 64,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
) -> Dataset:
    """Passages of Python code against passages of documentation, from the standard library of this interpreter.

    Code is without comments, docstrings and other texts of several lines; documentation is docstrings without code
    examples. Both classes have equally many passages of every module, and all passages of a module belong to one
    split. The passages depend on the version of Python.

    Args:
        lines: Number of lines of a passage.
        passages: Largest number of passages, of both classes together.
        unit, max_tokens, max_length, buckets: As in ``labeled_texts``.
        batch_size: B, rows of a batch; 0: all training rows.
        validation_fraction, test_fraction: Fractions of the modules to hold out.
        seed: Seed of the choice of modules, of the splits and of the order.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, lines=lines, max_length=max_length)
    check_integer("passages", passages, minimum=100)
    check_fractions(validation_fraction, test_fraction)
    random = np.random.default_rng(seed)
    splits = _splits(_modules(lines, passages, random), {"test": test_fraction, "validation": validation_fraction})
    tokenizer = learn_tokenizer(splits["train"].texts, unit, max_tokens)
    return from_tokens(
        {name: tokenized(tokenizer, split, max_length) for name, split in splits.items()},
        Texts(tokenizer, max_length),
        batch_size=batch_size,
        buckets=buckets,
        seed=seed,
        source="Python standard library",
        note=f"; Python {platform.python_version()}",
    )


def _modules(lines: int, passages: int, random: np.random.Generator) -> list[LabeledTexts]:
    """Returns equally many passages of code and of documentation for modules in random order."""
    files, found, seen, left = standard_library(), [], set[str](), passages // 2
    for index in random.permutation(len(files)):
        kinds = code_and_prose(files[index], lines)
        new = [[text for text in dict.fromkeys(texts) if text not in seen] for texts in kinds]
        count = min(MAX_PER_MODULE, left, *map(len, new))
        if not count:
            continue
        chosen = [[texts[i] for i in np.sort(random.permutation(len(texts))[:count])] for texts in new]
        seen.update(*chosen)
        found.append(LabeledTexts([*chosen[0], *chosen[1]], [CODE] * count + [PROSE] * count))
        left -= count
        if not left:
            break
    return found


def _splits(modules: list[LabeledTexts], fractions: Mapping[str, float]) -> dict[str, LabeledTexts]:
    """Assigns modules in their order to the held-out splits, and the rest to ``train``."""
    ends = np.cumsum([len(module.texts) for module in modules]) / sum(len(module.texts) for module in modules)
    splits, begin, total = {}, 0, 0.0
    for name, fraction in fractions.items():
        total += fraction
        end = max(begin + 1, int(np.searchsorted(ends, total)))
        splits[name] = modules[begin:end]
        begin = end
    return {"train": _joined(modules[begin:]), **{name: _joined(parts) for name, parts in splits.items()}}


def _joined(modules: list[LabeledTexts]) -> LabeledTexts:
    return LabeledTexts(
        [text for each in modules for text in each.texts], [label for each in modules for label in each.labels]
    )


def code_and_prose(file: Path, lines: int) -> tuple[list[str], list[str]]:
    """Returns the passages of code and of documentation in a module; none if it is too large or has errors."""
    if file.stat().st_size > MAX_BYTES:
        return [], []
    try:
        source = file.read_bytes().decode("utf-8")
        tree = ast.parse(source)
    except (ValueError, SyntaxError):
        return [], []
    hidden, prose = set[int](), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            text = ast.get_docstring(node) or ""
            prose += [] if any(shown in text for shown in _EXAMPLES) else text.splitlines()
        elif _is_text(node):
            hidden.update(range(node.lineno, node.end_lineno + 1))  # type: ignore[attr-defined]
    numbered = enumerate(source.splitlines(), 1)
    code = [line for number, line in numbered if number not in hidden and "#" not in line]
    return _passages(code, lines), _passages(prose, lines)


def _is_text(node: ast.AST) -> bool:
    """Returns whether a node is a string of several lines, or a string that is a statement, such as a docstring."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Constant | ast.JoinedStr) and node.end_lineno != node.lineno


def _passages(given: list[str], lines: int) -> list[str]:
    """Joins every few lines that are not blank."""
    kept = [line for line in given if line.strip()]
    return ["\n".join(kept[i : i + lines]) for i in range(0, len(kept) - lines + 1, lines)]
