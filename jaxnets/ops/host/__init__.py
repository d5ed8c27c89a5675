"""Functions of the host: files, compression, memory, printable text, and optional packages."""
