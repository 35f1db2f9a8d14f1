"""Pickle read by an abstract machine: nothing of the file is imported, called or built.

abstract        the values that the machine computes with
opcodes         the constants of the pickle language
machine         the stack machine: bytes -> abstract value, and the names that it met
tensor_pattern  its shortcut for what torch.save writes for each tensor
allowed         which names a checkpoint may call
findings        what the names met mean for whoever loads the file
layout          a strided view of a storage: how many elements of it are distinct, and where they end
storages        what views lie in, and how much of it they account for
rebuild         abstract value -> rows of a tensor table, by the rules of torch's own rebuild functions
arrays          the same for numpy's
legacy          the stream of pickles that torch.save wrote before its zip files
"""
