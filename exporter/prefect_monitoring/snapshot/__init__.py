"""The immutable snapshot that one poll leaves behind."""
