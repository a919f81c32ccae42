"""Scores and intervals, of numbers alone."""
