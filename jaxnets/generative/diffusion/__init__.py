"""Diffusion models and flow matching: schedules, processes, samplers and the U-Net."""

from jaxnets.generative.diffusion.flow_matching import (
    flow_matching_log_prob,
    integrate,
    integrate_path,
    logit_normal_times,
    straight_path,
)
from jaxnets.generative.diffusion.posterior import (
    Gaussian,
    bound_terms,
    discretized_gaussian_log_prob,
    learned_log_variance,
    log_variances,
    posterior,
    posterior_coefficients,
    prior_term,
)
from jaxnets.generative.diffusion.predictions import predicted_clean, prediction_target
from jaxnets.generative.diffusion.processes import GaussianDiffusion, RectifiedFlow
from jaxnets.generative.diffusion.samplers import SamplerSteps, ancestral, ddim, dpm_solver
from jaxnets.generative.diffusion.sampling import (
    Denoised,
    denoiser,
    image_to_image,
    inpaint,
    sample,
    sample_path,
)
from jaxnets.generative.diffusion.schedules import (
    NoiseSchedule,
    add_noise,
    cosine_betas,
    linear_betas,
    noise_schedule,
    subsequence,
)
from jaxnets.generative.diffusion.text_unet import TextUNet
from jaxnets.generative.diffusion.unet import UNet, timestep_embedding

__all__ = [
    "Denoised",
    "Gaussian",
    "GaussianDiffusion",
    "NoiseSchedule",
    "RectifiedFlow",
    "SamplerSteps",
    "TextUNet",
    "UNet",
    "add_noise",
    "ancestral",
    "bound_terms",
    "cosine_betas",
    "ddim",
    "denoiser",
    "discretized_gaussian_log_prob",
    "dpm_solver",
    "flow_matching_log_prob",
    "image_to_image",
    "inpaint",
    "integrate",
    "integrate_path",
    "learned_log_variance",
    "linear_betas",
    "log_variances",
    "logit_normal_times",
    "noise_schedule",
    "posterior",
    "posterior_coefficients",
    "predicted_clean",
    "prediction_target",
    "prior_term",
    "sample",
    "sample_path",
    "straight_path",
    "subsequence",
    "timestep_embedding",
]
