"""DICOM ultrasound: what is accepted, how its samples become grey levels, what its header declares."""
