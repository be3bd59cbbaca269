"""What is in the files: decoding, the fan, preprocessing, the manifest. Never imports torch."""
