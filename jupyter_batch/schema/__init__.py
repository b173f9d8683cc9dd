"""Schemas: from the user's type, to the provider's format, to the values of each answer's fields.

read.py parses a type, sent.py converts it for a provider, check.py validates a value, parse.py
finds the value in an answer. Only the stored schema is used: a later process needs no original
class.
"""

from jupyter_batch.schema.parse import Parser
from jupyter_batch.schema.read import read
from jupyter_batch.schema.sent import response_format

__all__ = ["Parser", "read", "response_format"]
