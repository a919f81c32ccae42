"""Photos that are being sorted: which there are, where they lie, and what people say of them."""
