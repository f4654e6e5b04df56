"""The server's own I/O: settings, keys, database, Redis, broker and object store; a node never imports it."""
