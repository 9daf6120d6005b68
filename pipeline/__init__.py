"""Batch transcription: a bucket of recordings in, a table of transcripts out."""

__version__ = "0.1.0"
