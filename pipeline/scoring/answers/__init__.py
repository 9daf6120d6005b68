"""Answers to questions, scored by the answers that are wanted."""
