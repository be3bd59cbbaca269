"""Two or more assessed runs side by side, on the images that all of them asked."""
