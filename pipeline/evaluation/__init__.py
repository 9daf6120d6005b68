"""Evaluations: what is evaluated, how it is scored (a module for each kind), and how models compare."""
