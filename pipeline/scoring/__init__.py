"""How right transcripts are: error rates, how sure they are, and how they compare. No storage, no Ray."""
