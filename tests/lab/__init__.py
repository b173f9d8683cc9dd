"""The Jupyter server's part: what it lists, whom it answers, when it fetches."""
