"""What of the documentation is drawn from the program itself, as Markdown: it cannot fall behind."""
