"""Image classifiers you can trust, from a handful of labelled photos, in seconds, on a CPU."""

__version__ = "0.1.0"
