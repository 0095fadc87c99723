"""Shadow traffic: what stable answered to users, beside what the candidate would have said."""
