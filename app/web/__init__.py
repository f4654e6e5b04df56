"""The web process: pages, REST, the chat socket, and who may use them."""
