"""What several tests share: generated images, small runs and models, typed commands."""
