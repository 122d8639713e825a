"""One pass a file; the folder listing is the table of contents."""
