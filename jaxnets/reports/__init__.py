"""Reports: figures and other artifacts that show what a model has learned."""

from jaxnets.reports.artifacts import Arrays, Audio, ImageGrid, Table, Text

__all__ = ["Arrays", "Audio", "ImageGrid", "Table", "Text"]
