"""What the papers define: one family, one file, read downwards."""
