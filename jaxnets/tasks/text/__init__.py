"""Tasks on texts: classification and tagging."""
