"""How layers become streams for VTA: tiles, micro-op lists and dependence tokens."""
