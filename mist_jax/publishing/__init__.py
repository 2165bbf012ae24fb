"""What was made here, for others: a folder's public files with a card, on the Hugging Face hub."""
