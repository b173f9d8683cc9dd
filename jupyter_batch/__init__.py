"""LLM batch jobs from a notebook: the flat public face. Names are resolved on first use; nothing heavy is imported."""

__version__ = "0.1.0"
