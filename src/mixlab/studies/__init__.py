"""Questions: each a file, a function and a typed result that draws itself."""
