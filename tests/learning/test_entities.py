"""Entity scores: 1,000 random taggings beside seqeval, and the evaluator on padded batches."""

from pathlib import Path

import numpy as np
import pytest

from jaxnets.data.tokens.tag_schemes import complete_names
from jaxnets.learning import entities

GOLDEN = Path(__file__).parents[1] / "reference" / "entities.npz"


@pytest.mark.parametrize("scheme", ["iob2", "iobes"])
def test_a_thousand_random_taggings_have_the_scores_of_seqeval(scheme):
    golden = {name: array for name, array in np.load(GOLDEN).items() if name.startswith(f"{scheme}/")}
    true, predicted, lengths, lenient, strict, types = (
        golden[f"{scheme}/{name}"] for name in ("true", "predicted", "lengths", "lenient", "strict", "types")
    )
    names = complete_names(["B-LOC", "B-PER"], scheme)
    assert len(true) == 500 and 0 < np.nanmean(types) < 1 and (lenient != strict).any()
    for i in range(len(true)):
        pair = [
            [[names[tag] for tag in row[:end]] for row, end in zip(tags[i], lengths[i], strict=True)]
            for tags in (true, predicted)
        ]
        counts = entities.count_entities(*pair, scheme)
        assert list(entities.scores(counts).values()) == lenient[i].tolist()
        assert list(entities.scores(entities.count_entities(*pair, scheme, strict=True)).values()) == strict[i].tolist()
        if np.isfinite(types[i]).all():
            assert [score["f1"] for score in entities.scores_by_type(counts).values()] == types[i].tolist()


def test_the_evaluator_ignores_words_that_are_masked_and_adds_up_batches():
    names = complete_names(["B-LOC", "B-PER"], "iob2")  # O, B-LOC, I-LOC, B-PER, I-PER
    evaluator = entities.entity_f1(lambda variables, batch: batch, names, "iob2")
    first = (np.array([[1, 9, 2, 0]]), np.array([[1, 0, 2, 3]]), np.array([[True, False, True, False]]))
    second = (np.array([[0, 3]]), np.array([[4, 3]]), np.array([[True, True]]))
    total = evaluator.add(evaluator.add(None, evaluator.measure(None, first, None, ())[0]), second)
    found = evaluator.compute({"test": total})
    # Found: one location, and a person; true: the location, a person without B, and the person.
    assert found["test/entity_precision"] == 1 and found["test/entity_recall"] == 2 / 3
    assert found["test/strict_entity_f1"] == 1  # without B there is no entity
    types = entities.entity_f1(None, names, "iob2", by_type=True).compute({"test": total})
    assert types == {"test/entity_f1/LOC": 1, "test/entity_f1/PER": pytest.approx(2 / 3)}
    assert "test/strict_entity_f1" not in entities.entity_f1(None, names, "iob1").compute({"test": total[:1]})


def test_wrong_schemes_are_named():
    with pytest.raises(ValueError, match="`scheme` must be one of iob2, iobes, got 'iob1'"):
        entities.count_entities([["O"]], [["O"]], "iob1", strict=True)
    with pytest.raises(ValueError, match="`scheme` must be one of iob1, iob2, iobes, got 'none'"):
        entities.entity_f1(None, (), "none")
    with pytest.raises(ValueError):
        entities.count_entities([["O"]], [], "iob2")
