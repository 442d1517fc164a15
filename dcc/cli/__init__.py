"""The command line: a module for each group of commands; the API functions do the work."""
