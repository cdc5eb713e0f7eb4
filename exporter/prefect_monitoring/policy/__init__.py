"""What is declared about pipelines: whose they are, how much they matter, what they promise."""
