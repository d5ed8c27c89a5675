"""Autoencoders, adversarial networks and autoregressive models of images, with their losses and metrics."""

from jaxnets.generative.adversarial.lipschitz import gradient_penalty, spectral_norm
from jaxnets.generative.adversarial.losses import (
    hinge_losses,
    least_squares_losses,
    nonsaturating_losses,
    wasserstein_losses,
)
from jaxnets.generative.adversarial.minibatch import minibatch_closeness, minibatch_std, pack_examples
from jaxnets.generative.autoregressive.causal import causal_mask
from jaxnets.generative.autoregressive.gated_pixelcnn import GatedPixelCNN
from jaxnets.generative.autoregressive.logistic_mixture import (
    discretized_logistic_mixture_log_prob,
    sample_discretized_logistic_mixture,
)
from jaxnets.generative.autoregressive.pixelcnn import PixelCNN
from jaxnets.generative.autoregressive.pixelcnn_pp import PixelCNNPlusPlus
from jaxnets.generative.autoregressive.sampling import sample_images
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
    "ConvVAE",
    "FeatureMoments",
    "GatedPixelCNN",
    "MaxoutGAN",
    "ModeCoverage",
    "PixelCNN",
    "PixelCNNPlusPlus",
    "Quantized",
    "SampleQuality",
    "SpectralNorm",
    "active_units",
    "append_labels",
    "bernoulli_log_prob",
    "binarize",
    "causal_mask",
    "discretized_logistic_mixture_log_prob",
    "doubly_reparameterized_bound",
    "elbo",
    "feature_moments",
    "frechet_distance",
    "gan_2014",
    "gaussian_kl",
    "gaussian_log_prob",
    "gradient_penalty",
    "hinge_losses",
    "importance_weighted_bound",
    "least_squares_losses",
    "log_importance_weights",
    "minibatch_closeness",
    "minibatch_std",
    "mode_coverage",
    "nonsaturating_losses",
    "pac_gan",
    "pack_examples",
    "reparameterize",
    "sample_discretized_logistic_mixture",
    "sample_images",
    "sample_quality",
    "spectral_norm",
    "standard_normal_kl",
    "uniform_kl",
    "vector_quantize",
    "wasserstein_losses",
]
