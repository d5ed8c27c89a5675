"""Problems that are made as they are needed: no example is repeated."""
