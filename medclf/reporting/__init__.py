"""What a person is given of an evaluation: files of figures, a report, a model card. Knows no networks."""
