"""Sections of the report: one module each, turning ReportInputs into the data of one template."""
