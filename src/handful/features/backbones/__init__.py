"""Pretrained networks, a family a file."""
