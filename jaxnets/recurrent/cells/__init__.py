"""Recurrent cells and wrappers of cells."""
