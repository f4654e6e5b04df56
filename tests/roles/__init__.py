"""Who may do what: docs/roles.md held against every way in."""
