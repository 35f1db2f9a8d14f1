"""Claims about a model and where they come from: sidecars, declarations, hardware. Found here, believed elsewhere."""
