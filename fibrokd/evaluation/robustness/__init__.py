"""How far answers move where the picture is disturbed and the patient is the same.

``disturbances`` says what is done to pictures, ``document`` how far answers moved.
"""
