"""The studio: from unsorted photos to a classifier, on a page of this computer's own."""
