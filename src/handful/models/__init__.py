"""Heads on vectors, how sure they are, and the classifier that holds them."""
