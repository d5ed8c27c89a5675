"""Time series: models of forecasting and classification, likelihoods, and functions of windows."""

from jaxnets.series.autoencoder import RecurrentAutoencoder
from jaxnets.series.deep_ar import DeepAR, sample_paths, sample_quantiles
from jaxnets.series.forecaster import Forecaster
from jaxnets.series.inception_time import InceptionModule, InceptionTime
from jaxnets.series.likelihoods import (
    Likelihood,
    crps_of_quantiles,
    gaussian,
    gaussian_crps,
    pinball,
    point,
    quantiles,
    student_t,
)
from jaxnets.series.linear import DLinear, NLinear
from jaxnets.series.n_beats import NBEATS, seasonal_basis, trend_basis
from jaxnets.series.negative_binomial import negative_binomial, negative_binomial_log_prob
from jaxnets.series.patch_tst import PatchTST
from jaxnets.series.seg_rnn import SegRNN
from jaxnets.series.windowed import Memoryless, RecurrentForecaster, WindowMLP
from jaxnets.series.windows import mean_scale, moving_average, patches, seasonal_naive, window_moments

__all__ = [
    "NBEATS",
    "DLinear",
    "DeepAR",
    "Forecaster",
    "InceptionModule",
    "InceptionTime",
    "Likelihood",
    "Memoryless",
    "NLinear",
    "PatchTST",
    "RecurrentAutoencoder",
    "RecurrentForecaster",
    "SegRNN",
    "WindowMLP",
    "crps_of_quantiles",
    "gaussian",
    "gaussian_crps",
    "mean_scale",
    "moving_average",
    "negative_binomial",
    "negative_binomial_log_prob",
    "patches",
    "pinball",
    "point",
    "quantiles",
    "sample_paths",
    "sample_quantiles",
    "seasonal_basis",
    "seasonal_naive",
    "student_t",
    "trend_basis",
    "window_moments",
]
