"""The only folder that knows Ray: recordings through decode workers and engine actors, streamed.

Nothing is imported here: each small actor imports its own module, and no more.
"""
