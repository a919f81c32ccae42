"""What a classifier is worth, how far a figure spreads, what would improve it."""
