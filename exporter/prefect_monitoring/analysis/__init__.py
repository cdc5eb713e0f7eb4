"""Interprets raw texts: messages, log lines, durations, addresses."""
