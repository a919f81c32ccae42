"""Where the work on many photos is done."""
