"""Generative models: variational bounds, and the models that are trained by them."""

from jaxnets.generative.bounds import bernoulli_log_prob, standard_normal_kl
from jaxnets.generative.vae import VAE

__all__ = ["VAE", "bernoulli_log_prob", "standard_normal_kl"]
