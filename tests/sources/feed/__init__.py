"""The source socket: its lines, its users, its questions, and what becomes of offers."""
