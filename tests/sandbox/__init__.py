"""Tests of the sandbox, with discord.py as it comes from its makers."""
