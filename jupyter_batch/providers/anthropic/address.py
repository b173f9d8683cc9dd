"""Normalization of the address of an Anthropic-compatible API."""

from __future__ import annotations


def root_of(base: str) -> str:
    """Return the base address below which `/v1/messages` lies.

    litellm appends that route to any address, so `http://host/v1` would become `http://host/v1/v1/messages`.
    """
    base = base.rstrip("/")
    for tail in ("/batches", "/messages", "/v1"):
        base = base.removesuffix(tail).rstrip("/")
    return base
