"""Several devices and processes: meshes, sharding, agreement between processes."""
