"""The page on which a model is tried: on this machine only, nothing is kept, nothing is asked of any other machine."""
