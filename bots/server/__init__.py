"""The Server-Bot."""
