"""Sources of data: functions that return a ``Dataset``, and the grain pipelines behind them."""
