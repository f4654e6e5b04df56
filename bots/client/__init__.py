"""The Client-Bot."""
