"""Requests that need not be sent: the same was answered, or is under way."""
