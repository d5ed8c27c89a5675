"""Sources of data: functions that return a ``Dataset``, and their pipelines."""
