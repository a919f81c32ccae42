"""Exporting: a classifier as one model for other programs."""
