"""Generative models: autoencoders, adversarial networks, autoregressive models, normalizing flows and diffusion."""

from jaxnets.generative.adversarial.lipschitz import gradient_penalty, spectral_norm
from jaxnets.generative.adversarial.losses import (
    hinge_losses,
    least_squares_losses,
    nonsaturating_losses,
    wasserstein_losses,
)
from jaxnets.generative.adversarial.minibatch import minibatch_closeness, minibatch_std, pack_examples
from jaxnets.generative.autoregressive.causal import causal_mask
from jaxnets.generative.autoregressive.code_length import code_length
from jaxnets.generative.autoregressive.gated_pixelcnn import GatedPixelCNN
from jaxnets.generative.autoregressive.logistic_mixture import (
    discretized_logistic_mixture_log_prob,
    sample_discretized_logistic_mixture,
)
from jaxnets.generative.autoregressive.pixelcnn import PixelCNN
from jaxnets.generative.autoregressive.pixelcnn_pp import PixelCNNPlusPlus
from jaxnets.generative.autoregressive.sampling import sample_images
from jaxnets.generative.diffusion.processes import GaussianDiffusion, RectifiedFlow
from jaxnets.generative.diffusion.text_unet import TextUNet
from jaxnets.generative.diffusion.unet import UNet
from jaxnets.generative.flows.affine import (
    actnorm,
    actnorm_parameters,
    invertible_linear,
    orthogonal_lu,
    permuting,
    reversing,
    scaling,
    shifting,
)
from jaxnets.generative.flows.autoregressive import made_masks, masked_autoregressive, masked_perceptron
from jaxnets.generative.flows.bijector import Bijector, chain, flow_log_prob, flow_sample, standard_normal_log_prob
from jaxnets.generative.flows.couplings import (
    additive_coupling,
    affine_coupling,
    checkerboard,
    coupling,
    masked_affine_coupling,
)
from jaxnets.generative.flows.dequantization import bits_per_dim, dequantize
from jaxnets.generative.flows.models.autoregressive_flow import MaskedAutoregressiveFlow
from jaxnets.generative.flows.models.glow import Glow
from jaxnets.generative.flows.models.real_nvp import RealNVP
from jaxnets.generative.flows.models.spline_flow import SplineFlow
from jaxnets.generative.flows.multiscale import squeeze, squeezing, standardizing, unsqueeze
from jaxnets.generative.flows.spline import rational_quadratic_spline
from jaxnets.generative.labels import append_labels
from jaxnets.generative.metrics.frechet import FeatureMoments, feature_moments, frechet_distance
from jaxnets.generative.metrics.latents import active_units
from jaxnets.generative.metrics.modes import ModeCoverage, mode_coverage
from jaxnets.generative.metrics.neighborhoods import SampleQuality, sample_quality
from jaxnets.generative.models.autoencoder import Autoencoder
from jaxnets.generative.models.conv_vae import ConvVAE
from jaxnets.generative.models.dcgan import DCGAN
from jaxnets.generative.models.gan import GAN
from jaxnets.generative.models.maxout_gan import MaxoutGAN, gan_2014, pac_gan
from jaxnets.generative.models.spectral_norm import SpectralNorm
from jaxnets.generative.models.vae import VAE
from jaxnets.generative.models.vq_vae import VQVAE
from jaxnets.generative.variational.bounds import (
    doubly_reparameterized_bound,
    elbo,
    importance_weighted_bound,
    log_importance_weights,
)
from jaxnets.generative.variational.divergences import gaussian_kl, standard_normal_kl, uniform_kl
from jaxnets.generative.variational.likelihoods import (
    bernoulli_log_prob,
    binarize,
    gaussian_log_prob,
    reparameterize,
)
from jaxnets.generative.variational.quantization import Quantized, vector_quantize

__all__ = [
    "DCGAN",
    "GAN",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "Bijector",
    "ConvVAE",
    "FeatureMoments",
    "GatedPixelCNN",
    "GaussianDiffusion",
    "Glow",
    "MaskedAutoregressiveFlow",
    "MaxoutGAN",
    "ModeCoverage",
    "PixelCNN",
    "PixelCNNPlusPlus",
    "Quantized",
    "RealNVP",
    "RectifiedFlow",
    "SampleQuality",
    "SpectralNorm",
    "SplineFlow",
    "TextUNet",
    "UNet",
    "active_units",
    "actnorm",
    "actnorm_parameters",
    "additive_coupling",
    "affine_coupling",
    "append_labels",
    "bernoulli_log_prob",
    "binarize",
    "bits_per_dim",
    "causal_mask",
    "chain",
    "checkerboard",
    "code_length",
    "coupling",
    "dequantize",
    "discretized_logistic_mixture_log_prob",
    "doubly_reparameterized_bound",
    "elbo",
    "feature_moments",
    "flow_log_prob",
    "flow_sample",
    "frechet_distance",
    "gan_2014",
    "gaussian_kl",
    "gaussian_log_prob",
    "gradient_penalty",
    "hinge_losses",
    "importance_weighted_bound",
    "invertible_linear",
    "least_squares_losses",
    "log_importance_weights",
    "made_masks",
    "masked_affine_coupling",
    "masked_autoregressive",
    "masked_perceptron",
    "minibatch_closeness",
    "minibatch_std",
    "mode_coverage",
    "nonsaturating_losses",
    "orthogonal_lu",
    "pac_gan",
    "pack_examples",
    "permuting",
    "rational_quadratic_spline",
    "reparameterize",
    "reversing",
    "sample_discretized_logistic_mixture",
    "sample_images",
    "sample_quality",
    "scaling",
    "shifting",
    "spectral_norm",
    "squeeze",
    "squeezing",
    "standard_normal_kl",
    "standard_normal_log_prob",
    "standardizing",
    "uniform_kl",
    "unsqueeze",
    "vector_quantize",
    "wasserstein_losses",
]
