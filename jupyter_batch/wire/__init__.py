"""Pure translation between requests and results and the lines of each provider; `dialects.py` lists the dialects."""
