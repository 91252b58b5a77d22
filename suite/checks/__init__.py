"""Release checks as data: what is asked, what counts as good, and which fault proves that the check can fail."""
