"""Bedrock's address, by region."""

from __future__ import annotations

from collections.abc import Mapping


def base_of(settings: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """The API's address: from the environment, or the region (as litellm forms it)."""
    region = settings["aws_region_name"]
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return (
        environ.get("AWS_ENDPOINT_URL_BEDROCK")
        or environ.get("AWS_ENDPOINT_URL")
        or f"https://bedrock.{region}.{suffix}"
    )
