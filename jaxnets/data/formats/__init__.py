"""File formats: readers of single files, independent of datasets."""
