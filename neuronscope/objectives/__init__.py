"""What unlearning minimises: one file, one loss."""
