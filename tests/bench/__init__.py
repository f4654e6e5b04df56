"""Measuring by hand; nothing here is collected by the tests."""
