"""Input that nobody would send, by the thousand."""
