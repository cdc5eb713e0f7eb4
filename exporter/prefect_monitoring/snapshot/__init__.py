"""The immutable snapshot that a poll produces."""
