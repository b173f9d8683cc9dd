"""Prompts of all forms: a request body with holes, and the values for them by row."""
