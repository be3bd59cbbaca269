"""Figures of parts of the assessed images: by scanner, site, view, quality, and whatever else is known of them."""
