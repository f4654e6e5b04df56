"""What the tests share: real servers, a node that a test plays, a page, and waiting with a deadline."""
