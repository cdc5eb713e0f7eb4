"""What the raw records mean."""
