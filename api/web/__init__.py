"""The page: server-rendered, no inline script; it shows what the services answer and computes nothing of its own."""
