"""After a copy and after an update: fills .env, carries packages over, judges the choice."""
