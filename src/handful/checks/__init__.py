"""What would spoil a classifier, and which command mends it."""
