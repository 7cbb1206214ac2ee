"""What all HTML pages are made of."""
