"""Binary Huffman trees of words, for the hierarchical softmax."""

from typing import NamedTuple

import numpy as np


class HuffmanTree(NamedTuple):
    """The paths from the root of a Huffman tree to its words.

    Attributes:
        nodes: The inner nodes of each path, int32 ``[V, L]``; the root is the last node, ``num_nodes - 1``.
        codes: The branch taken at each node, bool ``[V, L]``.
        lengths: The lengths of the paths, int32 ``[V]``; 0 for words that do not occur.
    """

    nodes: np.ndarray
    codes: np.ndarray
    lengths: np.ndarray

    @property
    def num_nodes(self) -> int:
        return max(int((self.lengths > 0).sum()) - 1, 1)


def huffman_tree(counts: np.ndarray) -> HuffmanTree:
    """Returns the Huffman tree of word counts, with the same ties as word2vec.c.

    A frequent word has a short path. The binary softmaxes along a path are the hierarchical softmax (Morin and Bengio
    2005; Mikolov et al. 2013, arXiv:1310.4546).

    Args:
        counts: Number of occurrences of each word, integers ``[V]``. Words with 0 have no path.

    Raises:
        ValueError: A count is negative, or fewer than two words occur.
    """
    counts = np.asarray(counts, np.int64)
    if counts.ndim != 1 or (counts < 0).any() or (counts > 0).sum() < 2:
        raise ValueError("`counts` must be nonnegative integers [V] of which at least two are positive")
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    size = len(order)
    parent, branch = (np.array(each) for each in _parents(counts[order].tolist()))
    climbed: list[tuple[np.ndarray, np.ndarray]] = []  # from the words to the root
    at, root = np.arange(size), 2 * size - 2
    depth = np.zeros(size, np.int32)
    while (at != root).any():
        below = at != root
        climbed.append((np.where(below, parent[at] - size, 0), np.where(below, branch[at], False)))
        depth += below
        at = np.where(below, parent[at], root)
    nodes = np.zeros((len(counts), len(climbed)), np.int32)
    codes, lengths = np.zeros(nodes.shape, bool), np.zeros(len(counts), np.int32)
    lengths[order] = depth
    for height, (node, code) in enumerate(climbed):
        rows = np.flatnonzero(depth > height)
        nodes[order[rows], depth[rows] - 1 - height] = node[rows]
        codes[order[rows], depth[rows] - 1 - height] = code[rows]
    return HuffmanTree(nodes, codes, lengths)


def _parents(weights: list[int]) -> tuple[list[int], list[bool]]:
    """Returns the parent of each node and its branch there. The weights of the leaves are in descending order."""
    size = len(weights)
    leaf, inner = size - 1, size  # the lightest leaf and the lightest inner node that have no parent yet
    parent, branch = [0] * (2 * size - 1), [False] * (2 * size - 1)
    for made in range(size, 2 * size - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and (inner >= made or weights[leaf] < weights[inner]):
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(inner)
                inner += 1
        weights.append(weights[pair[0]] + weights[pair[1]])
        parent[pair[0]] = parent[pair[1]] = made
        branch[pair[1]] = True
    return parent, branch
