"""Layers, widths, heads, experts and windows: from the config, checked against the shapes; or none, and bounded from shapes."""
