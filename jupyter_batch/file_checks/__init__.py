"""Checks of request and result files on this disk, and refetching of short or damaged ones."""
