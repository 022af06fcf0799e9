"""Towers: text in, vectors out."""
