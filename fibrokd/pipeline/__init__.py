"""One step per file: wiring only. Steps do not import each other; they meet on disk."""
