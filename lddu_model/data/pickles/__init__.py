"""Reading pickles and files of ``torch.save`` without running what they ask for.

``tree.read_tree`` starts ``child`` as a process of its own under resource limits. The child takes
the file apart with ``machine``, which knows the names in ``inert`` and no other, and writes down
what it found as JSON; arrays stay in the file, of which only their place is written down.
"""
