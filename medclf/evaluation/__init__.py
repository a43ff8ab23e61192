"""What predictions are worth: knows predictions tables, not networks."""
