"""Outcomes -> cells of the frames that a user holds."""
