"""HTML pages that need neither network nor scripts, for light and dark screens and for screen readers."""
