"""Diffusion and flow matching: conditions, evaluators and reports."""
