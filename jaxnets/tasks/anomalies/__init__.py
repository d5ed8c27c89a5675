"""Tasks and metrics of anomaly detection."""
