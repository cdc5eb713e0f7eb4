"""Declarations about pipelines: teams, criticality, objectives, rules."""
