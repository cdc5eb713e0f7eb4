"""Scheduling: which readings and jobs run when."""
