"""Measurements of the suite beside what others do, each in processes of its own, taken in turns."""
