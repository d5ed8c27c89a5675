"""Functions that the families share; they know arrays only."""
