"""Certified lambda paths by jreg and its peers on the same problems, side by side."""
