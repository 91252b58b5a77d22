"""Runbooks: executed notebooks whose outputs are the record of what was checked."""
