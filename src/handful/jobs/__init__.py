"""Jobs: what each command does, from photos to files."""
