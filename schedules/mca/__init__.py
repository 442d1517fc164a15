"""How long a kernel takes on a core that is not here: cycles of loops times their trip counts."""
