"""Generative models, with their variational bounds and adversarial losses."""

from jaxnets.generative.adversarial import GAN, nonsaturating_losses
from jaxnets.generative.bounds import bernoulli_log_prob, standard_normal_kl
from jaxnets.generative.vae import VAE

__all__ = ["GAN", "VAE", "bernoulli_log_prob", "nonsaturating_losses", "standard_normal_kl"]
