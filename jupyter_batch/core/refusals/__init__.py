"""Refusals of providers, read out of their words: the sentence, a quota, a file, a limit. Pure."""
