"""The Discord bots of the platform and of the node."""
