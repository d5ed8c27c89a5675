"""Windows of series to forecast, and series with anomalies."""
