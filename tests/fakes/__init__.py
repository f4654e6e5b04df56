"""Stand-ins for what the platform talks to, written once for all tests."""
