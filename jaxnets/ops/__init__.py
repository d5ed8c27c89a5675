"""Functions of arrays that several families share."""
