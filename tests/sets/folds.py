"""Folds and the equivalent pooling functions."""

from jaxnets import sets

BINS = sets.bins_init("linear", 3, 5)
FOLDS = {
    "sum": (sets.sum_fold, sets.sum_pool),
    "mean": (sets.mean_fold, sets.mean_pool),
    "max": (sets.max_fold, sets.max_pool),
    "min": (sets.min_fold, sets.min_pool),
    "histogram": (sets.histogram_fold(BINS), lambda xs, valid: sets.histogram(xs, BINS, valid)),
}
