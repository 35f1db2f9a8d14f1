"""Messages of TensorFlow that hold or describe tensors, after tensorflow/core/framework and core/protobuf (2.21)."""

from __future__ import annotations

from typing import Final

from weightguard.formats._protobuf import schemas

# DataType: the name here, and bits that an element takes in memory (small ones are not packed)
DATA_TYPES: Final = {
    1: "F32",
    2: "F64",
    3: "I32",
    4: "U8",
    5: "I16",
    6: "I8",
    7: "STRING",
    8: "C64",
    9: "I64",
    10: "BOOL",
    11: "I8",  # QINT8
    12: "U8",
    13: "I32",
    14: "BF16",
    15: "I16",
    16: "U16",
    17: "U16",
    18: "C128",
    19: "F16",
    20: "STRING",  # RESOURCE and VARIANT, serialised
    21: "STRING",
    22: "U32",
    23: "U64",
    24: "F8_E5M2",
    25: "F8_E4M3",
    26: "F8_E4M3FNUZ",
    27: "F8_E4M3FNUZ",  # F8_E4M3B11FNUZ, which differs in its bias
    28: "F8_E5M2FNUZ",
    29: "I4",
    30: "U4",
    31: "I2",
    32: "U2",
    33: "F4",
}

_BUNDLE = schemas(
    """\
BundleHeaderProto 1:int:num_shards 2:int:endianness 3:VersionDef
BundleEntryProto 1:int:dtype 2:TensorShapeProto:shape 3:int:shard_id 4:int:offset 5:int:size 6:float 7:TensorSliceProto*:slices
VersionDef 1:int 2:int 3:ints
TensorShapeProto 2:Dim*:dim 3:int:unknown_rank
Dim 1:int:size 2:text
TensorSliceProto 1:Extent
Extent 1:int 2:int
TrackableObjectGraph 1:TrackableObject
TrackableObject 1:ObjectReference 2:SerializedTensor 3:SlotVariableReference 4:RegisteredSaver 5:BoolValue
ObjectReference 1:int 2:text
SerializedTensor 1:text 2:text 3:text 4:int
SlotVariableReference 1:int 2:text 3:int
RegisteredSaver 1:text 2:text
BoolValue 1:int
"""
)
BUNDLE_HEADER, BUNDLE_ENTRY, SLICE = _BUNDLE["BundleHeaderProto"], _BUNDLE["BundleEntryProto"], _BUNDLE["TensorSliceProto"]
SHAPE, DIMENSION, OBJECT_GRAPH = _BUNDLE["TensorShapeProto"], _BUNDLE["Dim"], _BUNDLE["TrackableObjectGraph"]
