"""vLLM: a replica that serves over HTTP (`replica`), and an engine in this process (`engine`)."""
