"""Data that ships with dcc: the built-in recipes, and the trained digits network with its held-out digits."""
