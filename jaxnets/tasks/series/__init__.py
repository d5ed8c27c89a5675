"""Tasks of time series."""
