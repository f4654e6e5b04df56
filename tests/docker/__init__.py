"""Holds what docker/ says against the real commands, settings, ports, routes and servers; no container engine is needed."""
