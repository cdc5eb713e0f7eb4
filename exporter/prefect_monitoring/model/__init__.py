"""Values that every part shares, without libraries and without input or output."""
