"""Time series: models of forecasting, classification and anomalies, likelihoods, functions of windows, and VUS-PR."""

from jaxnets.series.anomalies.autoencoder import RecurrentAutoencoder
from jaxnets.series.anomalies.baselines import NearestSeries, PrincipalComponents
from jaxnets.series.anomalies.moments import Moments, initial_moments, squared_mahalanobis, updated_moments
from jaxnets.series.anomalies.prediction_errors import prediction_errors
from jaxnets.series.anomalies.step_predictor import StepPredictor
from jaxnets.series.anomalies.volume_under_surface import range_auc_pr, vus_pr
from jaxnets.series.forecasting.deep_ar import DeepAR, sample_paths, sample_quantiles
from jaxnets.series.forecasting.forecaster import Forecaster
from jaxnets.series.forecasting.likelihoods import (
    Likelihood,
    crps_of_quantiles,
    gaussian,
    gaussian_crps,
    pinball,
    point,
    quantiles,
    student_t,
)
from jaxnets.series.forecasting.linear import DLinear, NLinear
from jaxnets.series.forecasting.n_beats import NBEATS, seasonal_basis, trend_basis
from jaxnets.series.forecasting.negative_binomial import negative_binomial, negative_binomial_log_prob
from jaxnets.series.forecasting.patch_tst import PatchTST
from jaxnets.series.forecasting.rev_in import RevIN
from jaxnets.series.forecasting.seg_rnn import SegRNN
from jaxnets.series.forecasting.windowed import Memoryless, RecurrentForecaster, WindowMLP
from jaxnets.series.inception_time import InceptionModule, InceptionTime
from jaxnets.series.rocket import Kernels, Rocket, random_kernels, rocket_features
from jaxnets.series.windows import mean_scale, moving_average, patches, seasonal_naive, window_moments

__all__ = [
    "NBEATS",
    "DLinear",
    "DeepAR",
    "Forecaster",
    "InceptionModule",
    "InceptionTime",
    "Kernels",
    "Likelihood",
    "Memoryless",
    "Moments",
    "NLinear",
    "NearestSeries",
    "PatchTST",
    "PrincipalComponents",
    "RecurrentAutoencoder",
    "RecurrentForecaster",
    "RevIN",
    "Rocket",
    "SegRNN",
    "StepPredictor",
    "WindowMLP",
    "crps_of_quantiles",
    "gaussian",
    "gaussian_crps",
    "initial_moments",
    "mean_scale",
    "moving_average",
    "negative_binomial",
    "negative_binomial_log_prob",
    "patches",
    "pinball",
    "point",
    "prediction_errors",
    "quantiles",
    "random_kernels",
    "range_auc_pr",
    "rocket_features",
    "sample_paths",
    "sample_quantiles",
    "seasonal_basis",
    "seasonal_naive",
    "squared_mahalanobis",
    "student_t",
    "trend_basis",
    "updated_moments",
    "vus_pr",
    "window_moments",
]
