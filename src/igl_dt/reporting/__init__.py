"""What people look at: figures, the report, previews."""
