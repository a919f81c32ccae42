"""Named data sets: found, downloaded, verified."""
