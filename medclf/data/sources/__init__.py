"""Where images come from: small readers that turn a source into found images. Import neither pandas nor torch."""
