"""What evaluations score: one module for each task."""
