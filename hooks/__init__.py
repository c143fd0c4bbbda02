"""What runs after a project is rendered, and the tables it speaks from."""
