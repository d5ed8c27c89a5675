"""Parameters and other variables of models are float32 at most, also if 64-bit types are enabled."""

import jax
import jax.numpy as jnp
import pytest

from jaxnets import attention, convolution, generative, recurrent, series, sets, text

SERIES, TOKENS = jnp.zeros((2, 24, 2)), jnp.zeros((2, 7), jnp.int32)
CODES = jnp.zeros((2, 7))
PATCHES = {"patch": 4, "stride": 2, "embed_dim": 4, "num_heads": 2, "mlp_dim": 8, "num_layers": 1}
MODELS = {
    "patch_tst": (series.PatchTST(6, **PATCHES), SERIES),
    "seg_rnn": (series.SegRNN(6, segment=3, hidden_size=4), SERIES),
    "n_beats": (series.NBEATS(6), SERIES),
    "rev_in": (series.RevIN(6, model=series.DLinear), SERIES),
    "deep_ar": (series.DeepAR(6), SERIES),
    "rocket": (series.Rocket(2, 60), SERIES),
    "inception_time": (series.InceptionTime(2), SERIES),
    "principal_components": (series.PrincipalComponents(2), SERIES),
    "autoencoder": (series.RecurrentAutoencoder(), SERIES),
    "step_predictor": (series.StepPredictor(2), SERIES),
    "sequence_model": (recurrent.SequenceModel(3), SERIES),
    "tcn": (convolution.TCN(3), SERIES),
    "deep_sets": (sets.DeepSets(3), SERIES),
    "set_transformer": (sets.SetTransformer(3), SERIES),
    "hist_net": (sets.HistNetQ(3), SERIES),
    "char_rnn": (recurrent.CharRNN(9), TOKENS),
    "decoder_lm": (attention.DecoderLM(9, embed_dim=8, num_heads=2, num_layers=1, max_seq_len=9), TOKENS),
    "text_cnn": (text.TextCNN(9, 2), TOKENS),
    "recurrent_text": (text.RecurrentTextClassifier(9, 2), TOKENS),
    "attention_text": (text.AttentionTextClassifier(9, 2, pooling="class"), TOKENS),
    "ngrams": (text.NgramClassifier(9, 2, num_buckets=64), TOKENS),
    "dcgan": (generative.DCGAN(8, 1, 7, 2, "spectral"), CODES),
    "pac_gan": (generative.pac_gan(latent=7), CODES),
    "gan": (generative.GAN(latent=7), CODES),
    "deep_autoencoder": (generative.Autoencoder(7), CODES),
    "vq_vae": (generative.VQVAE(hidden=4), jnp.zeros((2, 8, 8, 1))),
    "glow": (generative.Glow((8, 8, 1), 2, 1, 4), jnp.zeros((2, 8, 8, 1))),
    "real_nvp": (generative.RealNVP((4, 4, 1), 2, 4, 1), jnp.zeros((2, 4, 4, 1))),
    "spline_flow": (generative.SplineFlow(7), CODES),
    "autoregressive_flow": (generative.MaskedAutoregressiveFlow(7), CODES),
    "tagger": (text.Tagger(9, 3, 0, character_encoder="none"), TOKENS),
}


@pytest.mark.parametrize("name", MODELS)
def test_variables_are_not_float64(name):
    model, inputs = MODELS[name]
    with jax.enable_x64(True):
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs))
    wide = {path for path, leaf in jax.tree.leaves_with_path(shapes) if leaf.dtype.itemsize > 4}
    assert wide == set()
