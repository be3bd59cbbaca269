"""The Streamlit bedside app: flow in main.py, pure views in views.py."""
