"""SHOWS: the Dash pages, one file a page."""
