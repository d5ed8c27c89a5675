"""Executors of ``recurrent.scan``, one per method."""
