"""Batch speech processing with Voxtral: a bucket of recordings in, tables out. From Python, start at api.py."""

__version__ = "0.1.0"
