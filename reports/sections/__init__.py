"""What the weekly report says: headings, words, tables and charts, for HTML, PDF and Markdown alike."""
