"""Settings of a config: the things they name, the arguments these take, and values from a command line."""
