"""Screens of a job: text, HTML, widget, figure."""
