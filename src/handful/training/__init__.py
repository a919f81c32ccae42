"""Training: how each strategy turns photos into a classifier."""
