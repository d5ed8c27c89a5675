"""Models of forecasting, and likelihoods."""
