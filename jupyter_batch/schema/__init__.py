"""Schemas: from what a person gives, to what the provider is asked for, to the values of each answer's fields.

read.py reads a type, sent.py says it to a provider, check.py holds a value against it, parse.py finds the value in an
answer. The schema as it is stored is all that counts: a job of another day is parsed without the class it came from.
"""

from jupyter_batch.schema.parse import Parser
from jupyter_batch.schema.read import read
from jupyter_batch.schema.sent import response_format

__all__ = ["Parser", "read", "response_format"]
