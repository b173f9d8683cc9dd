"""Vertex AI's batch prediction."""
