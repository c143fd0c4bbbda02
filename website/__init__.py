"""The site: docs/ as pages, with what runs in the browser beside them."""
