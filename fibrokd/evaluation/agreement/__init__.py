"""How far networks that answered the same images say the same, right or wrong."""
