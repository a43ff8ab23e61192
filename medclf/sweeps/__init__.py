"""Searches for the best settings, on Hydra's Optuna sweeper (``hpo=…``), and what launchers need (``launcher=…``)."""
