"""The dialects of Bedrock and Vertex AI, both ways. No network."""
