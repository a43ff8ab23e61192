"""The command line: parsing what was typed, checking it, and handing over to Hydra."""
