"""Models of anomaly detection, moments of scores, and VUS-PR."""
