"""Folders that are whole or absent, and what lies in them. Never imports torch."""
