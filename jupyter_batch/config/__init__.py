"""Options, settings and defaults, each declared once."""
