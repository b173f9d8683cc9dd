"""Anthropic's dialect: requests and results. No network."""
