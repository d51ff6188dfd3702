"""SQL storage: tables, database, repositories."""
