"""The search page: an ASGI application over an open index; what it shows is handed to it."""
