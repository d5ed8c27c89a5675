"""Random taggings and their scores by seqeval (pip install seqeval), for tests/learning/test_entities.py.

python tests/reference/make_entities.py
"""

from pathlib import Path

import numpy as np
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2, IOBES

from jaxnets.data.tokens.tag_schemes import complete_names

SCORES = (precision_score, recall_score, f1_score)
TAGGINGS, SENTENCES, WORDS = 500, 4, 8  # of each scheme


def main() -> None:
    random = np.random.default_rng(0)
    arrays = {}
    for name, scheme in (("iob2", IOB2), ("iobes", IOBES)):
        names = complete_names(["B-LOC", "B-PER"], name)
        shape = (TAGGINGS, SENTENCES, WORDS)
        true = random.integers(0, len(names), shape, np.int8)
        # Most words are as in the truth, so that some entities are found.
        predicted = np.where(random.random(shape) < 0.7, true, random.integers(0, len(names), shape, np.int8))
        lengths = random.integers(0, WORDS + 1, (TAGGINGS, SENTENCES), np.int8)
        lenient, strict, types = [], [], []
        for i in range(TAGGINGS):
            pair = [
                [[names[tag] for tag in row[:end]] for row, end in zip(tags[i], lengths[i], strict=True)]
                for tags in (true, predicted)
            ]
            lenient.append([score(*pair, zero_division=0) for score in SCORES])
            strict.append([score(*pair, mode="strict", scheme=scheme, zero_division=0) for score in SCORES])
            by_type = f1_score(*pair, average=None, zero_division=0)
            types.append(by_type if len(by_type) == 2 else [np.nan, np.nan])
        arrays |= {f"{name}/true": true, f"{name}/predicted": predicted, f"{name}/lengths": lengths}
        arrays |= {f"{name}/lenient": lenient, f"{name}/strict": strict, f"{name}/types": types}
    np.savez_compressed(Path(__file__).with_name("entities.npz"), **arrays)


if __name__ == "__main__":
    main()
