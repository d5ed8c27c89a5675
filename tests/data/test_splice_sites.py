"""Generated splice sites: frequencies of bases at the sites, places, classes, and determinism."""

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data.sources.problems.splice_sites import ACCEPTOR, DONOR, decoy, sampled


@pytest.mark.parametrize("site", [DONOR, ACCEPTOR, decoy(DONOR)])
def test_bases_have_the_frequencies_of_the_site(site):
    found = sampled(site, 20_000, np.random.default_rng(0))
    expected = site / site.sum(0)
    counts = (found[None] == np.arange(4)[:, None, None]).mean(1)
    np.testing.assert_allclose(counts, expected, atol=5 * 0.5 / np.sqrt(20_000))
    assert np.all((counts == 0) == (expected == 0))


def test_columns_are_percentages_and_consensus_is_that_of_the_literature():
    for site in (DONOR, ACCEPTOR):
        assert np.abs(site.sum(0) - 100).max() <= 2  # rounded
    consensus = lambda site: "".join("ACGT"[base] for base in site.argmax(0))
    assert consensus(DONOR) == "AAGGTAAGT"
    assert consensus(ACCEPTOR) == "T" * 12 + "CAGGT"
    assert decoy(DONOR)[:, 3:5].tolist() == [[0, 0], [0, 0], [100, 0], [0, 100]]


def test_windows_have_sites_at_random_places():
    dataset = data.splice_sites(length=17, batch_size=3000)
    batch = dataset.train[0]
    bases, targets = batch["inputs"] - 1, batch["targets"]
    np.testing.assert_allclose(np.bincount(targets) / 3000, 1 / 3, atol=0.05)
    acceptors = bases[targets == 1]
    assert np.all(acceptors[:, 13:15] == [0, 2])
    donors = bases[targets == 0]
    pairs = (donors[:, :-1] == 2) & (donors[:, 1:] == 3)
    assert pairs.any(1).all() and (pairs.mean(0)[3:12] > 0.1).all()
    decoys = bases[targets == 2]
    has = lambda first, second: ((decoys[:, :-1] == first) & (decoys[:, 1:] == second)).any(1)
    assert np.all(has(2, 3) | has(0, 2))


def test_the_best_classifier_has_the_documented_accuracy():
    batch = data.splice_sites(batch_size=4000).train[0]
    bases = batch["inputs"] - 1

    def evidence(site):
        """The likelihood of a site at a random place, relative to that of uniform bases."""
        ratios, width = 4 * site / site.sum(0), site.shape[1]
        here = [np.prod(ratios[bases[:, t : t + width], np.arange(width)], 1) for t in range(81 - width)]
        return np.mean(here, axis=0)

    decoys = (evidence(decoy(DONOR)) + evidence(decoy(ACCEPTOR))) / 2
    best = np.argmax([evidence(DONOR), evidence(ACCEPTOR), decoys], axis=0)
    assert np.mean(best == batch["targets"]) == pytest.approx(0.78, abs=0.02)


def test_batches_are_token_ids_and_deterministic():
    dataset = data.splice_sites(batch_size=5, seed=1)
    batch, show = dataset.train[7], dataset.spec.tokenizer.show
    assert {"".join(map(show, row)) for row in batch["inputs"].tolist()} != {""}
    assert dataset.spec.tokenizer.encode("ACGTNacgt").tolist() == [1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert batch["inputs"].shape == (5, 80) and batch["inputs"].dtype == np.int32
    np.testing.assert_array_equal(data.splice_sites(batch_size=5, seed=1).train[7]["inputs"], batch["inputs"])
    assert np.any(data.splice_sites(batch_size=5, seed=2).train[7]["inputs"] != batch["inputs"])
    assert dataset.fingerprint != data.splice_sites(length=81, batch_size=5, seed=1).fingerprint


@pytest.mark.parametrize("options", [{"length": 16}, {"batch_size": 0}, {"seed": -1}])
def test_invalid_arguments_are_rejected(options):
    with pytest.raises(ValueError, match="must be an integer of at least"):
        data.splice_sites(**options)
