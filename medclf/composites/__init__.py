"""Models made of several runs: ensembles and two-stage cascades."""
