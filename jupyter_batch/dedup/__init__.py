"""Deduplication of requests: those already answered or in progress are not sent again."""
