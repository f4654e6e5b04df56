"""What people do in Discord: slash commands, buttons, chat threads, and the replies shown there."""
