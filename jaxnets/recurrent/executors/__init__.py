"""Executors of ``scan``: one method of running a cell each."""
