"""Jobs on clusters: one request, written for the scheduler that is there."""
