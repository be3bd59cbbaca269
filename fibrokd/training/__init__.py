"""The torch half: networks, views, the book, and the one training loop. Knows no distillation method."""
