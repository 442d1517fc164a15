"""The report of a compression: facts gathered by one half, drawn on one page by the other.

``facts`` is what lies between the two, and what ``dcc report --json`` writes.
"""
