"""Endpoints of word vectors: vectors, neighbors and analogies of words."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.data.targets import Words
from jaxnets.ops.host.printable import printable
from jaxnets.reports import Table, Text
from jaxnets.tasks.task import Endpoint
from jaxnets.text import nearest, solve_analogies
from jaxnets.weights.word_vectors import WordVectors, to_text

ANSWERS = 5


def of_words(spec: Words, table: Callable[[Any], jax.Array]) -> dict[str, Endpoint]:
    """Returns the endpoints ``predict``, ``neighbors`` and ``analogy``.

    Args:
        spec: The words.
        table: ``variables -> [V, D]``, the vectors.
    """
    show = spec.tokenizer.show

    def predict(variables, batch):
        return {"words": batch["inputs"], "vectors": table(variables)[batch["inputs"]]}

    def neighbors(variables, batch):
        vectors, words = table(variables), batch["inputs"]
        exclude = jnp.stack([words[:, 0], jnp.zeros_like(words[:, 0])], axis=1)
        ids, similarities = nearest(vectors, vectors[words[:, 0]], ANSWERS, exclude)
        return {"words": words, "answers": ids, "similarities": similarities}

    def analogy(variables, batch):
        ids, similarities = solve_analogies(table(variables), batch["inputs"], ANSWERS)
        return {"words": batch["inputs"], "answers": ids, "similarities": similarities}

    def vectors_table(outputs):
        words, vectors = np.asarray(outputs["words"])[:, 0], np.asarray(outputs["vectors"])[:, 0]
        columns = ("row", "word", *(f"v{i}" for i in range(vectors.shape[1])))
        names = tuple(show(word) for word in words.tolist())
        rows = [(i, name, *vector) for i, (name, vector) in enumerate(zip(names, vectors.tolist(), strict=True))]
        return {"vectors": Table(columns, rows), "text": Text(to_text(WordVectors(names, vectors)))}

    def answers(outputs):
        return answer_artifacts(spec, *(np.asarray(outputs[name]) for name in ("words", "answers", "similarities")))

    axes: dict[str, tuple[str, ...]] = {"inputs": ("batch", "word")}
    return {
        "predict": Endpoint(predict, axes, lambda text: read_words(spec, text, 1), vectors_table),
        "neighbors": Endpoint(neighbors, axes, lambda text: read_words(spec, text, 1), answers),
        "analogy": Endpoint(analogy, axes, lambda text: read_words(spec, text, 3), answers),
    }


def read_words(spec: Words, text: str, number: int) -> dict[str, np.ndarray]:
    """Reads lines of words, such as ``man king woman`` for an analogy.

    Args:
        spec: The words.
        text: One line for each row; empty lines are ignored.
        number: Number of words in a line.

    Returns:
        ``{"inputs": int32 [N, number]}``.

    Raises:
        ValueError: A line has another number of words, or a word is unknown. The message names it.
    """
    rows = []
    for index, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if words and len(words) != number:
            count = "1 word" if number == 1 else f"{number} words"
            raise ValueError(f"line {index} must have {count}, got {len(words)}")
        ids = spec.tokenizer.ids(words)
        if not ids.all():
            unknown = printable(words[int(np.argmin(ids))], 60)
            raise ValueError(f"line {index}: the words must be in the vocabulary of the run, got {unknown}")
        if words:
            rows.append(ids)
    return {"inputs": np.array(rows, np.int32).reshape(-1, number)}


def answer_artifacts(spec: Words, words: np.ndarray, answers: np.ndarray, similarities: np.ndarray) -> dict[str, Any]:
    """Returns a table and a text of the answers to questions.

    Args:
        spec: The words.
        words: The questions, ``[N, 1]`` for neighbors and ``[N, 3]`` for analogies.
        answers: The best words, ``[N, K]``, -1 where there are fewer.
        similarities: ``[N, K]``.
    """
    show = lambda id: spec.tokenizer.show(int(id)) if id >= 0 else ""
    ranks = range(1, answers.shape[1] + 1)
    columns = ("row", "words", *(f"{name} {rank}" for rank in ranks for name in ("word", "similarity")))
    rows, lines = [], []
    for index, (asked, found, scores) in enumerate(zip(words, answers, similarities.tolist(), strict=True)):
        names = [show(word) for word in asked]
        pairs = [(show(word), score) for word, score in zip(found, scores, strict=True)]
        rows.append((index, " ".join(names), *(value for pair in pairs for value in pair)))
        question = names[0] if len(names) == 1 else f"{names[0]} : {names[1]} = {names[2]} :"
        lines.append(f"{question}  " + ", ".join(f"{word} {score:.3f}" for word, score in pairs if word))
    return {"answers": Table(columns, rows), "text": Text("\n".join(lines))}
