"""Reports: figures and other artifacts of trained models."""

from jaxnets.ops.host import extras

extras.require(__name__, "train")

from jaxnets.reports.artifacts import Arrays, Audio, ImageGrid, ImageStrip, Table, Text
from jaxnets.reports.set_figures import histograms, inducing_points

__all__ = ["Arrays", "Audio", "ImageGrid", "ImageStrip", "Table", "Text", "histograms", "inducing_points"]
