"""Serving: a classifier behind HTTP."""
