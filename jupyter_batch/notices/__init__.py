"""Notices: functions called with a job, messages to other places, and webhooks that a provider sends."""
