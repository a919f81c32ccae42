"""How values and jobs look in a notebook."""
