"""Images: where they are, what their pixels are, which belong together."""
