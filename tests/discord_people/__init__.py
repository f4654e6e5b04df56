"""People in Discord: commands, buttons, chat threads, links."""
