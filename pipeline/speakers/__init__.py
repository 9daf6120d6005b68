"""Who speaks when: embeddings of voices, their clusters, and the turns of speakers. No storage, no Ray, no settings."""
