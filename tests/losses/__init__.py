"""Whether anything is lost while workers come and go: real workers under load, whose data nobody else has.

``python -m tests.losses --minutes 30`` scales, evicts, deletes and drains at random, and says what was lost; with
``--subject dask-kubernetes`` the same happens to the peer. Its short form is a test of ``tests/node``.
"""
