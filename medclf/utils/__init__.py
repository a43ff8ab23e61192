"""Helpers that know nothing of images or models: files, text, processes, errors."""
