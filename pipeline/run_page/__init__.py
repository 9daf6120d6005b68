"""A run on a page: what its report and its tables say, and how it differs from another run."""
