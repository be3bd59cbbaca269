"""Figures of patients and studies: one answer made of the answers to their images."""
