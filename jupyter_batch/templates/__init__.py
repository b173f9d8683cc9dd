"""Prompt templates: parsing, and rendering for each row."""
