"""For projects on Django."""
