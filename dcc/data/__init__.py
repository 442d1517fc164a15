"""Data that ships with dcc: the built-in recipes, the trained digits network and its data."""
