"""Prompt templates: a text with holes, and the text of each row."""
