"""Pictures of an evaluation: knows no networks. Matplotlib's object interface: no global state, no window."""
