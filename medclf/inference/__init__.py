"""Using a trained model on images that it was not trained with."""
