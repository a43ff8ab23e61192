"""A trained model as one file for another runtime."""
