"""Moonshot (Kimi)."""
