"""The dialects of Bedrock and Vertex AI: requests and results. No network."""
