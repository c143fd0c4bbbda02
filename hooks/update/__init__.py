"""What an update does beside Copier: merged lists, files that are kept, renamed answers."""
