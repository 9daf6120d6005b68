"""The reading page: a folder of pages in which people search transcripts, hear them, and correct them."""
