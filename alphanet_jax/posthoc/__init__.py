"""Corrections of a trained classifier other than AlphaNet; pure."""
