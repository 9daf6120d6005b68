"""Several models on the same recordings: tables, a page."""
