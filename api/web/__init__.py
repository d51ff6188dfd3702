"""The page: server-rendered, without scripts; it shows what the services answer and computes nothing of its own."""
