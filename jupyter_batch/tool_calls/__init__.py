"""Tool calls: executed once each, their outcomes sent in a follow-up job."""
