"""Sets: permutation-invariant and equivariant functions and models for padded or segmented sets."""

from jaxnets.ops.set_reductions import Segments, Validity
from jaxnets.sets.blocks import ISAB, MAB, PMA, SAB
from jaxnets.sets.deep_sets import DeepSets, EquivariantDeepSets, EquivariantLayer
from jaxnets.sets.gaussian import gaussian_pool, gaussians_init, log_likelihoods
from jaxnets.sets.hist_net import HistNetQ, Histogram
from jaxnets.sets.histogram import bins_init, histogram, votes
from jaxnets.sets.norms import layer_norm, set_norm
from jaxnets.sets.over_devices import fold_over_devices
from jaxnets.sets.pooling import (
    max_pool,
    mean_pool,
    median_pool,
    min_pool,
    power_mean_pool,
    quantile_pool,
    softmax_pool,
    sorted_pool,
    sum_pool,
)
from jaxnets.sets.set_transformer import SetTransformer
from jaxnets.sets.streaming import Fold, apply_in_chunks, histogram_fold, max_fold, mean_fold, min_fold, sum_fold

__all__ = [
    "ISAB",
    "MAB",
    "PMA",
    "SAB",
    "DeepSets",
    "EquivariantDeepSets",
    "EquivariantLayer",
    "Fold",
    "HistNetQ",
    "Histogram",
    "Segments",
    "SetTransformer",
    "Validity",
    "apply_in_chunks",
    "bins_init",
    "fold_over_devices",
    "gaussian_pool",
    "gaussians_init",
    "histogram",
    "histogram_fold",
    "layer_norm",
    "log_likelihoods",
    "max_fold",
    "max_pool",
    "mean_fold",
    "mean_pool",
    "median_pool",
    "min_fold",
    "min_pool",
    "power_mean_pool",
    "quantile_pool",
    "set_norm",
    "softmax_pool",
    "sorted_pool",
    "sum_fold",
    "sum_pool",
    "votes",
]
