"""Pandas frames: rows, cells, labels and keys. Only this package uses indexes and columns."""
