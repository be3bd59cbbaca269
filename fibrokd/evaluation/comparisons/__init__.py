"""Tests of differences between networks that answered the same images."""
