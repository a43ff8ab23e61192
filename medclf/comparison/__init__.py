"""Which of several classifiers is better on the same test images: knows predictions tables, not networks."""
