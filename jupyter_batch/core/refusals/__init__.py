"""Parsers of providers' error texts: the sentence, quota, file and limit errors."""
