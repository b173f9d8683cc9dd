"""Providers for tests: scripted answers, in memory."""
