"""Servers of OpenAI's batch API other than OpenAI's own."""
