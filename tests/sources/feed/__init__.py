"""The source socket: its lines, who may speak there, what is asked, and what becomes of offers."""
