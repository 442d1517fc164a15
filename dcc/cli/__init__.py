"""The command line: one module for each group of commands; the work itself is in the API functions."""
