"""The Dask schedulers of Pods that KWOK plays, all spoken for by one process: ``python -m tests.played``.

A played Pod has an address and no program. In the network of a cluster at scale those addresses lead to the machine
itself; a connection's own end tells which scheduler is meant. What a scheduler and its workers are like stands in an
annotation of their Pods, so that a test sets the scene with kubectl, and what happened is printed line by line.
"""
