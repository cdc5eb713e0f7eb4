"""The immutable picture that one poll leaves behind."""
