"""Anthropic's dialect, both ways. No network."""
