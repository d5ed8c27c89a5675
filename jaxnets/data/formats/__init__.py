"""File formats: readers of one file each, which know nothing of data sets."""
