"""Options: their types, their sources, their groups, and the set-up of the log."""
