"""Training on several devices and processes: meshes, sharding and synchronization."""
