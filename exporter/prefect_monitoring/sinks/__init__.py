"""Where numbers go besides `/metrics`."""
