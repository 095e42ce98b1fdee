"""The API server: credentials, a client that speaks raw JSON, caches that follow it, and streams into Pods."""
