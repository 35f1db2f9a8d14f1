"""Pickle read by an abstract machine: nothing of the file is imported, called or built.

opcodes   the constants of the pickle language
machine   the stack machine: bytes -> abstract value, and the names that it met
allowed   which of those names a checkpoint may call
layout    a strided view of a storage: how many elements of it are distinct, and where they end
rebuild   abstract value -> rows of a tensor table, by the rules of torch's and numpy's own rebuild functions
legacy    the stream of pickles that torch.save wrote before its zip files
"""
