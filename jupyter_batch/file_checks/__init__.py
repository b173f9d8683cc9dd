"""Checks of the request and result files on this disk, and the fetch of those that are short or damaged."""
