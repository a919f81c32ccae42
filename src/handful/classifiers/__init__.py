"""Classifiers: heads on embeddings, what they say, and how sure they are of it."""
