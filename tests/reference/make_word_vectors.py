"""Golden values of word vectors: generator of ``word_vectors.npz``.

    pip install gensim==4.4.0
    python tests/reference/make_word_vectors.py

The script needs gensim, the tests do not. It writes the files that gensim writes, the vectors that it reads from files
with duplicate words and a binary file without line ends, and its answers to questions of analogies and similarities.
"""

import tempfile
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors

RANDOM = np.random.default_rng(0)
VOCABULARY = "the king queen man woman King Paris France PARIS Rome Italy naïve 日本 1.5"
WORDS = VOCABULARY.split()
QUESTIONS = """: family
king queen man woman
man woman king queen
woman man Queen KING
man king woman unknown
: capitals
paris france rome italy
Rome Italy Paris France
italy rome france paris
the man 1.5 naïve
: empty
unknown unknown unknown unknown
"""
PAIRS = "# comment\nking\tqueen\t8.5\nking\tman\t5\nParis\tRome\t5\nthe\tunknown\t1\nnaïve\tthe\t0.5\nwoman\tMan\t7\n"
DUPLICATES = "4 2\na 1 2\nb 3 4\na 5 6\nc 1e-3 -.5\n"


def keyed_vectors(words, vectors):
    keyed = KeyedVectors(vectors.shape[1])
    keyed.add_vectors(words, vectors)
    return keyed


def file_of(folder, name, content):
    path = Path(folder, name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def answers(keyed, folder):
    """Returns the counts of correct and incorrect answers by section, and the correlation of similarities."""
    _, sections = keyed.evaluate_word_analogies(file_of(folder, "questions", QUESTIONS))
    counts = [[len(section["correct"]), len(section["incorrect"])] for section in sections]
    _, spearman, missing = keyed.evaluate_word_pairs(file_of(folder, "pairs", PAIRS))
    return np.array(counts), np.array([spearman[0], missing])


def main() -> None:
    arrays = {"words": np.array(WORDS, str), "questions": np.array(QUESTIONS), "pairs": np.array(PAIRS)}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(4):
            vectors = np.random.default_rng(seed).normal(size=(len(WORDS), 5)).astype(np.float32)
            # A common direction of gender and of capitals, such that some questions are answered.
            vectors[[2, 4]] = vectors[[1, 3]] + 2 * vectors[13] + 0.3 * RANDOM.normal(size=(2, 5))
            vectors[[7, 10]] = vectors[[6, 9]] - 2 * vectors[12] + 0.3 * RANDOM.normal(size=(2, 5))
            keyed = keyed_vectors(WORDS, vectors)
            arrays[f"vectors_{seed}"] = vectors
            arrays[f"counts_{seed}"], arrays[f"correlation_{seed}"] = answers(keyed, folder)
            product = keyed.most_similar_cosmul(positive=["king", "woman"], negative=["man"], topn=5)
            arrays[f"product_{seed}"] = np.array([WORDS.index(word) for word, _ in product])
            arrays[f"product_scores_{seed}"] = np.array([score for _, score in product])
        path = str(Path(folder, "written"))
        for name, options in {"text": {}, "binary": {"binary": True}, "glove": {"write_header": False}}.items():
            keyed.save_word2vec_format(path, **options)
            arrays[f"file_{name}"] = np.frombuffer(Path(path).read_bytes(), np.uint8)
        found = KeyedVectors.load_word2vec_format(file_of(folder, "duplicates", DUPLICATES))
        arrays |= {
            "duplicates": np.array(DUPLICATES),
            "first_words": np.array([word for word in found.index_to_key if word is not None]),
        }
        arrays["first_vectors"] = found.vectors[: len(arrays["first_words"])]  # gensim 4.4 leaves rows of zeros
    np.savez_compressed(Path(__file__).with_suffix("").with_name("word_vectors.npz"), **arrays)


if __name__ == "__main__":
    main()
