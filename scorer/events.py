"""The transaction contract and its fast decoder: JSON values in, columns and rejections out."""
