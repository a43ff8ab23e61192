"""The configuration: composing, checking, saying what is wrong. Imports neither torch nor lightning."""
