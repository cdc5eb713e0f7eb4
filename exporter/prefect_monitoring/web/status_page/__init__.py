"""The status page: a snapshot as HTML, for people who have no dashboard at hand."""
