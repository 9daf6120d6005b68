"""Entry points: each parses settings, calls one run, prints its report and sets the exit status."""
