"""The agent beside a server: lays adapters down, verified and never changed again, and keeps loaded what routes name."""
