"""Pretrained networks and the vectors that they make of images."""
