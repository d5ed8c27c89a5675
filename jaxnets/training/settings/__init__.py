"""Settings of configs: names of functions and classes, their arguments, and overrides from the command line."""
