"""An abstract machine for pickle, protocols 0 to 5. It builds no object of the file's classes and calls nothing.

A pickle is a program for a stack machine (CPython, `pickletools`). This machine runs that program over abstract
values: numbers, texts, bytes, tuples and lists stand for themselves, everything that a real unpickler would import
or call becomes a `Global`, a `Persistent` or an `Object` that keeps its arguments. So a payload is seen, by name,
and never run.

One function holds the whole loop and compares opcodes with literals: a checkpoint of 291 tensors is 10,000 opcodes,
and each name looked up or object made per opcode would be a tenth of the time.
"""

from __future__ import annotations

import struct
from itertools import repeat
from struct import Struct

from weightguard.errors import Unreadable
from weightguard.formats._pickle.abstract import (
    CALLED,
    EXTENSION,
    MADE,
    Dict,
    Global,
    Globals,
    Memo,
    Object,
    Persistent,
    Pickle,
    Set,
    Value,
)
from weightguard.formats._pickle.calls import append, build, call, name_of, set_items
from weightguard.formats._pickle.opcodes import CONSTANTS, HIGHEST_PROTOCOL, counted, decimal, last_line, text_line
from weightguard.formats._pickle.tensor_pattern import SKIPPED, Shortcut
from weightguard.formats._pickle.tensor_pattern import match as tensor_match
from weightguard.kernels.torch_entries import scan_torch_entries
from weightguard.limits import Limits

_U16 = Struct("<H").unpack_from
_U32 = Struct("<I").unpack_from
_I32 = Struct("<i").unpack_from
_U64 = Struct("<Q").unpack_from
_F64 = Struct(">d").unpack_from
_CHUNK = 1 << 16  # opcodes between two looks at the limits
_GROWING = (Dict, Object)  # what SETITEMS adds to
_MARKS = 100_000  # marks open at once
_FAR = "pickle: a memo index larger than the pickle, up to which an unpickler would allot"
_MEMO_INDEX = 1 << 32  # a larger index than LONG_BINPUT can write would only serve to make hashes collide


def run(data: bytes, start: int, limits: Limits, seen: Globals, *, columns: bool = False) -> Pickle:
    """Runs the pickle at `start`, recording in `seen` what it names.

    columns: whether the caller takes tensors as a `Run`, where there are many.
    Raises `Unreadable` ("truncated", "malformed", "unsupported", "limit").
    """
    shortcut = Shortcut(columns and scan_torch_entries.pays(len(data)))
    before = len(seen.persistent), len(seen.deferred), len(seen.runs), seen.blobs
    try:
        try:
            return _run(data, start, limits, seen, shortcut)
        except KeyError:
            if not shortcut.taken:
                raise
            del seen.persistent[before[0] :], seen.deferred[before[1] :], seen.runs[before[2] :]
            seen.blobs = before[3]
            return _run(data, start, limits, seen, None)
    except KeyError as error:
        raise Unreadable("malformed", "pickle: reads a memo entry that isn't there") from error
    except struct.error as error:
        raise Unreadable("truncated", "pickle: ends within an argument") from error
    except (UnicodeError, OverflowError) as error:
        raise Unreadable("malformed", "pickle: a text that isn't in its encoding") from error
    except MemoryError as error:
        raise Unreadable("limit", "pickle: needs more memory than there is") from error


def _run(data: bytes, at: int, limits: Limits, seen: Globals, shortcut: Shortcut | None) -> Pickle:
    size = len(data)
    edge = outside = size + 1  # where the frame ends
    memo = Memo()
    marks: list[list[Value]] = []
    stack: list[Value] = []
    value: Value
    top = 0  # above every memo index so far
    u32 = _U32
    persistent = seen.persistent
    left = limits.pickle_opcodes
    try:
        while left > 0:
            for _ in repeat(None, min(left, _CHUNK)):
                op = data[at]
                if at >= edge:  # an unpickler that reads a frame at once and one that doesn't would go on differently
                    if at > edge:
                        raise Unreadable("malformed", f"pickle: a value crosses the end of its frame, byte {edge}")
                    edge = outside
                at += 1
                # By frequency in checkpoints. Those that are nearly always followed by LONG_BINPUT do it themselves.
                if op == 0x4B:  # BININT1
                    stack.append(data[at])
                    at += 1
                elif op == 0x68:  # BINGET
                    stack.append(memo[data[at]])
                    at += 1
                elif op == 0x4D:  # BININT2
                    stack.append(data[at] | data[at + 1] << 8)
                    at += 2
                elif op == 0x58:  # BINUNICODE
                    end = at + 4 + u32(data, at)[0]
                    if end > size:
                        raise Unreadable("truncated", f"pickle: a text at byte {at} is longer than what remains")
                    raw = data[at + 4 : end]
                    value = raw.decode() if raw.isascii() else raw.decode("utf-8", "surrogatepass")
                    stack.append(value)
                    at = end
                    if data[at] == 0x72:
                        index = u32(data, at + 1)[0]
                        memo[index] = value
                        if index >= top:
                            top = index + 1
                        at += 5
                elif op == 0x28:  # MARK
                    if shortcut is not None and data[at] == 0x28:
                        found = tensor_match(data, at + 1)
                        made = None if found is None else shortcut.take(found.groups(), stack[-1], memo, top, persistent)
                        if found is not None and made is not None:
                            stack[-1] = made
                            at = found.end()
                            top += SKIPPED
                            if data[at] == 0x72 and u32(data, at + 1)[0] == top:
                                memo[top] = made
                                top += 1
                                at += 5
                            elif data[at] == 0x71 and data[at + 1] == top:
                                memo[top] = made
                                top += 1
                                at += 2
                            if shortcut.columns and len(stack) % 2 == 0 and marks and marks[-1]:
                                many = (
                                    shortcut.run(data, found, made, at, top, memo) if type(marks[-1][-1]) in _GROWING else None
                                )
                                if many is not None:
                                    tensors, at, top = many
                                    stack += (tensors, tensors)
                                    memo.runs.append(tensors)
                                    seen.runs.append(tensors)
                            continue
                    marks.append(stack)
                    stack = []
                elif op == 0x74:  # TUPLE
                    value = tuple(stack)
                    stack = marks.pop()
                    stack.append(value)
                    if data[at] == 0x72:
                        index = u32(data, at + 1)[0]
                        memo[index] = value
                        if index >= top:
                            top = index + 1
                        at += 5
                elif op == 0x52:  # REDUCE
                    args = stack.pop()
                    callee = stack[-1]
                    if type(callee) is Global and callee.plain and type(args) is tuple:
                        callee.uses |= CALLED
                        stack[-1] = value = Object(callee, args)
                    else:
                        stack[-1] = value = call(callee, args, seen)
                    if data[at] == 0x72:
                        index = u32(data, at + 1)[0]
                        memo[index] = value
                        if index >= top:
                            top = index + 1
                        at += 5
                elif op == 0x86:  # TUPLE2
                    value = stack.pop()
                    stack[-1] = value = (stack[-1], value)
                    if data[at] == 0x72:
                        index = u32(data, at + 1)[0]
                        memo[index] = value
                        if index >= top:
                            top = index + 1
                        at += 5
                elif op == 0x51:  # BINPERSID
                    stack[-1] = value = reference = Persistent(stack[-1])
                    persistent.append(reference)
                    if data[at] == 0x72:
                        index = u32(data, at + 1)[0]
                        memo[index] = value
                        if index >= top:
                            top = index + 1
                        at += 5
                elif op == 0x29:  # EMPTY_TUPLE
                    stack.append(())
                elif op == 0x71:  # BINPUT
                    index = data[at]
                    memo[index] = stack[-1]
                    if index >= top:
                        top = index + 1
                    at += 1
                elif op == 0x72:  # LONG_BINPUT
                    index = u32(data, at)[0]
                    memo[index] = stack[-1]
                    if index >= top:
                        top = index + 1
                    at += 4
                elif op == 0x89:  # NEWFALSE
                    stack.append(False)
                elif op == 0x94:  # MEMOIZE
                    if shortcut is not None and shortcut.taken:
                        raise KeyError("the memo has been counted")
                    index = len(memo)
                    memo[index] = stack[-1]
                    if index >= top:
                        top = index + 1
                elif op == 0x8C:  # SHORT_BINUNICODE
                    end = at + 1 + data[at]
                    if end > size:
                        raise Unreadable("truncated", f"pickle: a text at byte {at} is longer than what remains")
                    stack.append(data[at + 1 : end].decode("utf-8", "surrogatepass"))
                    at = end
                elif op == 0x4A:  # BININT
                    stack.append(_I32(data, at)[0])
                    at += 4
                elif op == 0x6A:  # LONG_BINGET
                    stack.append(memo[u32(data, at)[0]])
                    at += 4
                elif op == 0x85:  # TUPLE1
                    stack[-1] = value = (stack[-1],)
                    if data[at] == 0x72:
                        index = u32(data, at + 1)[0]
                        memo[index] = value
                        if index >= top:
                            top = index + 1
                        at += 5
                elif op == 0x87:  # TUPLE3
                    third = stack.pop()
                    value = stack.pop()
                    stack[-1] = (stack[-1], value, third)
                elif op == 0x88:  # NEWTRUE
                    stack.append(True)
                elif op == 0x4E:  # NONE
                    stack.append(None)
                elif op == 0x47:  # BINFLOAT
                    stack.append(_F64(data, at)[0])
                    at += 8
                elif op == 0x75:  # SETITEMS
                    items = stack
                    stack = marks.pop()
                    set_items(stack[-1], items)
                elif op == 0x73:  # SETITEM
                    value = stack.pop()
                    key = stack.pop()
                    set_items(stack[-1], [key, value])
                elif op == 0x7D:  # EMPTY_DICT
                    stack.append(Dict())
                elif op == 0x5D:  # EMPTY_LIST
                    stack.append([])
                elif op == 0x65:  # APPENDS
                    items = stack
                    stack = marks.pop()
                    append(stack[-1], items, list)
                elif op == 0x61:  # APPEND
                    value = stack.pop()
                    append(stack[-1], [value], list)
                elif op == 0x63:  # GLOBAL
                    module, at = text_line(data, at)
                    name, at = text_line(data, at)
                    stack.append(named := seen.named(module.decode(), name.decode()))
                    if shortcut is not None:
                        shortcut.note(named, data[at : at + 5])
                elif op == 0x93:  # STACK_GLOBAL
                    value = stack.pop()
                    key = stack.pop()
                    stack.append(name_of(key, value, seen))
                elif op == 0x62:  # BUILD
                    value = stack.pop()
                    build(stack[-1], value, seen)
                elif op == 0x81:  # NEWOBJ
                    args = stack.pop()
                    stack[-1] = call(stack[-1], args, seen, MADE)
                elif op in CONSTANTS:
                    value, at = CONSTANTS[op](data, at)
                    if type(value) is bytes:
                        seen.blobs += len(value)
                    stack.append(value)
                elif op == 0x2E:  # STOP
                    if edge != outside and at != edge:
                        raise Unreadable("malformed", f"pickle: stops within its frame, before byte {edge}")
                    if top > size:
                        raise Unreadable("malformed", _FAR)
                    return Pickle(stack.pop(), at)
                elif op == 0x80:  # PROTO
                    if data[at] > HIGHEST_PROTOCOL:
                        raise Unreadable("unsupported", f"pickle: protocol {data[at]}")
                    at += 1
                elif op == 0x95:  # FRAME
                    seen.framed = True
                    if edge != outside:
                        raise Unreadable("malformed", f"pickle: a frame at byte {at} within a frame")
                    if shortcut is not None:  # it looks beyond frames
                        if shortcut.taken:
                            raise KeyError("frames behind a tensor")
                        shortcut = None
                    at += 8
                    edge = at + _U64(data, at - 8)[0]
                    if edge > size:
                        raise Unreadable("truncated", f"pickle: a frame at byte {at - 8} is longer than what remains")
                elif op == 0x30:  # POP: with nothing above the last mark it takes the mark away
                    if stack:
                        stack.pop()
                    else:
                        stack = marks.pop()
                elif op == 0x31:  # POP_MARK
                    stack = marks.pop()
                elif op == 0x32:  # DUP
                    stack.append(stack[-1])
                elif op == 0x6C:  # LIST
                    value = stack
                    stack = marks.pop()
                    stack.append(value)
                elif op == 0x64:  # DICT
                    items = stack
                    stack = marks.pop()
                    stack.append(Dict())
                    set_items(stack[-1], items)
                elif op == 0x8F:  # EMPTY_SET
                    stack.append(Set())
                elif op == 0x90:  # ADDITEMS
                    items = stack
                    stack = marks.pop()
                    append(stack[-1], items, Set)
                elif op == 0x91:  # FROZENSET
                    value = Set(stack)
                    stack = marks.pop()
                    stack.append(value)
                elif op == 0x92:  # NEWOBJ_EX
                    keywords = stack.pop()
                    args = stack.pop()
                    stack[-1] = made = call(stack[-1], args, seen, MADE)
                    if keywords:
                        made.args = (*made.args, keywords)
                elif op == 0x69:  # INST
                    module, at = text_line(data, at)
                    name, at = last_line(data, at)
                    args = tuple(stack)
                    stack = marks.pop()
                    stack.append(call(seen.named(module.decode(), name.decode()), args, seen))
                elif op == 0x6F:  # OBJ
                    items = stack
                    stack = marks.pop()
                    stack.append(call(items[0], tuple(items[1:]), seen))
                elif op == 0x70 or op == 0x67:  # PUT, GET
                    line, at = text_line(data, at)
                    index = decimal(line)
                    if not 0 <= index < _MEMO_INDEX:
                        raise Unreadable("malformed", "pickle: a memo index out of range")
                    if op == 0x70:
                        memo[index] = stack[-1]
                        if index >= top:
                            top = index + 1
                    else:
                        stack.append(memo[index])
                elif op == 0x50:  # PERSID
                    line, at = text_line(data, at)
                    reference = Persistent(line.decode("ascii"))
                    seen.persistent.append(reference)
                    stack.append(reference)
                elif op == 0x82 or op == 0x83 or op == 0x84:  # EXT1, EXT2, EXT4
                    line, at = counted(data, at, 1 << op - 0x82)
                    extension = seen.named("copyreg extension", str(int.from_bytes(line, "little", signed=op == 0x84)))
                    extension.uses |= EXTENSION
                    stack.append(extension)
                elif op == 0x97 or op == 0x98:  # NEXT_BUFFER, READONLY_BUFFER
                    raise Unreadable("unsupported", "pickle: its buffers lie outside of it")
                else:
                    raise Unreadable("malformed", f"pickle: byte {op:#04x} at {at - 1} is no opcode")
            left -= _CHUNK
            if top > size:
                raise Unreadable("malformed", _FAR)
            if len(memo) > limits.pickle_memo or len(stack) > limits.pickle_memo or len(marks) > _MARKS:
                raise Unreadable("limit", "pickle: a memo, stack or nesting larger than weightguard reads")
    except IndexError as error:  # past the end of the bytes, or below the bottom of the stack or the marks
        if at >= size - 1:
            raise Unreadable("truncated", "pickle: ends before its STOP") from error
        raise Unreadable("malformed", f"pickle: nothing on the stack for the opcode before byte {at}") from error
    raise Unreadable("limit", f"pickle: more than {limits.pickle_opcodes} opcodes")
