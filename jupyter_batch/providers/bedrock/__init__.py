"""Bedrock's batch inference."""
