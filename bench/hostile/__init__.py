"""Damaged and odd media through the preparation: what it promises, and what bare ffmpeg makes of the same files."""
