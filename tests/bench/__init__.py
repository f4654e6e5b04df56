"""Figures, not tests: what the platform adds to an engine, taken side by side in one run (`make bench`)."""
