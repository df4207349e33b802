"""Networks only: tensors in, tensors out. No module here opens a file, renders or trains."""
