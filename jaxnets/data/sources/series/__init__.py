"""Windows of series to forecast, and series with labeled steps."""
