"""Lines of result files -> columns."""
