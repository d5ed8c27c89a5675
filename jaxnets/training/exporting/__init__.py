"""Export of trained runs: functions, their folder, and the preprocessing of raw inputs."""
