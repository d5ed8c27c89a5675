"""Recurrent layers: bidirectional and stacked scans, pooling over time, and Linen modules."""
