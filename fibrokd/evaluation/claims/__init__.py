"""Claims about methods: what is written down beforehand, how it is judged, and the page that says so."""
