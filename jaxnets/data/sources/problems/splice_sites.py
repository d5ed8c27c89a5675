"""Generated DNA with the borders of introns."""

import numpy as np

from jaxnets.data.checks import check_arguments
from jaxnets.data.dataset import Dataset
from jaxnets.data.inputs import Texts
from jaxnets.data.sources.batches import Batch
from jaxnets.data.sources.problems.generated import generated
from jaxnets.data.targets import TextClasses
from jaxnets.data.tokens.tokenizer import Tokenizer
from jaxnets.ops.checks import check_integer

BASES = ("a", "c", "g", "t")
NAMES = ("donor", "acceptor", "neither")

# Frequencies of A, C, G and T in percent at human splice sites in regions of low G + C content: Zhang (1998),
# "Statistical features of human exons and their flanking regions", Human Molecular Genetics 7, 919-932; as in Table
# 14.3 of Deonier, Tavare and Waterman (2005), "Computational Genome Analysis".
DONOR = np.array(  # 3 bases of the exon, GT, 4 more bases of the intron
    [
        [38, 62, 12, 0, 0, 71, 73, 11, 21],
        [31, 10, 4, 0, 0, 2, 6, 6, 10],
        [18, 12, 77, 100, 0, 24, 8, 75, 14],
        [13, 16, 7, 0, 100, 3, 13, 8, 55],
    ]
)
ACCEPTOR = np.array(  # 13 bases of the intron, AG, 2 bases of the exon
    [
        [15, 14, 13, 11, 10, 10, 11, 12, 13, 11, 10, 26, 7, 100, 0, 26, 24],
        [24, 21, 20, 22, 21, 22, 25, 28, 28, 25, 22, 25, 55, 0, 0, 11, 15],
        [10, 12, 10, 9, 10, 9, 10, 10, 8, 5, 5, 15, 1, 0, 100, 50, 20],
        [51, 53, 57, 58, 59, 59, 54, 50, 51, 59, 63, 33, 37, 0, 0, 13, 41],
    ]
)


def splice_sites(length: int = 80, batch_size: int = 64, seed: int = 0) -> Dataset:
    """Windows of DNA with a donor site, an acceptor site, or neither, as characters.

    A donor site is the begin of an intron, an acceptor site its end. Sites are sampled base by base from the
    frequencies of Zhang (1998) at human splice sites, and placed at random in a window of uniform random bases. The
    third class has GT or AG at such a place, without the pattern around it. The classes are equally frequent.
    The best classifier has an accuracy of 78 % with 80 bases.

    Args:
        length: T, bases of a window, at least 17.
        batch_size: B, rows of a batch.
        seed: Seed of the examples.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_arguments(seed, batch_size=batch_size)
    check_integer("length", length, minimum=ACCEPTOR.shape[1])
    sites = [DONOR, ACCEPTOR, decoy(DONOR), decoy(ACCEPTOR)]

    def make(random: np.random.Generator) -> Batch:
        targets = random.integers(0, len(NAMES), batch_size)
        kinds = np.where(targets == 2, 2 + random.integers(0, 2, batch_size), targets)
        bases = random.integers(0, len(BASES), (batch_size, length))
        for kind, site in enumerate(sites):
            rows = np.flatnonzero(kinds == kind)
            begins = random.integers(0, length - site.shape[1] + 1, len(rows))
            bases[rows[:, None], begins[:, None] + np.arange(site.shape[1])] = sampled(site, len(rows), random)
        return {
            "inputs": (bases + 1).astype(np.int32),  # 0 is an unknown base
            "lengths": np.full(batch_size, length, np.int32),
            "targets": targets.astype(np.int32),
            "mask": np.ones(batch_size, bool),
        }

    tokenizer = Tokenizer("character", BASES, lowercase=True)
    source = f"splice sites in {length} bases of generated DNA, batches of {batch_size}"
    return generated(make, TextClasses(NAMES, tokenizer), seed, source, inputs=Texts(tokenizer, length))


def decoy(site: np.ndarray) -> np.ndarray:
    """Returns frequencies ``[4, W]`` with the invariant bases of a site, and uniform ones elsewhere."""
    return np.where((site == 100).any(0), site, 25)


def sampled(frequencies: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Samples sequences of independent bases.

    Args:
        frequencies: Of the four bases at each of W positions, ``[4, W]``; not necessarily normalized.
        count: N, the number of sequences.
        random: Generator of random numbers.

    Returns:
        Indices of bases, ``[N, W]``.
    """
    bounds = np.cumsum(frequencies, 0) / np.sum(frequencies, 0)
    return np.sum(random.random((count, 1, frequencies.shape[1])) >= bounds[None], axis=1)
