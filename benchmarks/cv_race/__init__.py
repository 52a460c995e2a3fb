"""Cross-validation and stability selection by jreg and its peers, on the pieces of `path_race`."""
