"""Tasks: loss, metrics, figures and endpoints of one kind of problem each."""

from jaxnets.ops.host import extras

extras.require(__name__, "train")

from jaxnets.tasks.anomalies.anomaly_detection import anomaly_detection
from jaxnets.tasks.anomalies.likelihood_detection import likelihood_detection
from jaxnets.tasks.anomalies.step_anomaly_detection import step_anomaly_detection
from jaxnets.tasks.choice import choice
from jaxnets.tasks.clustering import clustering
from jaxnets.tasks.denoising.diffusion import diffusion
from jaxnets.tasks.denoising.scene_accuracy import scene_accuracy
from jaxnets.tasks.gan.adversarial import adversarial
from jaxnets.tasks.generative.autoencoding import autoencoding
from jaxnets.tasks.generative.autoregressive_images import autoregressive_images
from jaxnets.tasks.generative.code_prior import code_prior
from jaxnets.tasks.generative.flow import flow
from jaxnets.tasks.generative.variational import variational
from jaxnets.tasks.generative.vector_quantized import vector_quantized
from jaxnets.tasks.image_classification import image_classification
from jaxnets.tasks.language_model import language_model, step_function
from jaxnets.tasks.models import TrainedModel, check_spec, complete
from jaxnets.tasks.series.autoregressive_forecasting import autoregressive_forecasting
from jaxnets.tasks.series.forecasting import forecasting
from jaxnets.tasks.series.ridge_forecasting import ridge_forecasting
from jaxnets.tasks.supervised import classification, multilabel_classification, regression
from jaxnets.tasks.task import Endpoint, Items, Stream, Task
from jaxnets.tasks.text.embeddings import with_embeddings
from jaxnets.tasks.text.tagging import tagging
from jaxnets.tasks.text.text_classification import text_classification
from jaxnets.tasks.translation import translation
from jaxnets.tasks.words.word_vectors import word_vectors

__all__ = [
    "Endpoint",
    "Items",
    "Stream",
    "Task",
    "TrainedModel",
    "adversarial",
    "anomaly_detection",
    "autoencoding",
    "autoregressive_forecasting",
    "autoregressive_images",
    "check_spec",
    "choice",
    "classification",
    "clustering",
    "code_prior",
    "complete",
    "diffusion",
    "flow",
    "forecasting",
    "image_classification",
    "language_model",
    "likelihood_detection",
    "multilabel_classification",
    "regression",
    "ridge_forecasting",
    "scene_accuracy",
    "step_anomaly_detection",
    "step_function",
    "tagging",
    "text_classification",
    "translation",
    "variational",
    "vector_quantized",
    "with_embeddings",
    "word_vectors",
]
