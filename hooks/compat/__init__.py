"""The tables of what works with what, and the programs that make and check them."""
