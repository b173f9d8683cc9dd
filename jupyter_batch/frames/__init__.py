"""Frames of pandas: rows out, cells in, labels and keys. Nothing else touches an index or a column."""
