"""The messages of ONNX, after onnx.proto (proto2, IR version 14), and its element types."""

from __future__ import annotations

from typing import Final

from weightguard.formats._protobuf import schemas
from weightguard.tensors import DTYPE_CODES

_SCHEMAS = schemas(
    """\
ModelProto 1:int:ir_version 2:name:producer_name 3:name:producer_version 4:name:domain 5:int 6:text 7:GraphProto:graph
    8:OperatorSetIdProto 14:StringStringEntryProto*:metadata_props 20:TrainingInfoProto*:training_info
    25:FunctionProto*:functions 26:DeviceConfigurationProto
GraphProto 1:NodeProto*:node 2:text 5:TensorProto*:initializer 10:text 11:ValueInfoProto 12:ValueInfoProto 13:ValueInfoProto
    14:TensorAnnotation 15:SparseTensorProto*:sparse_initializer 16:StringStringEntryProto
OperatorSetIdProto 1:text 2:int
StringStringEntryProto 1:bytes:key 2:bytes:value
TrainingInfoProto 1:GraphProto:initialization 2:GraphProto:algorithm 3:StringStringEntryProto 4:StringStringEntryProto
FunctionProto 1:name:name 4:text 5:text 6:text 7:NodeProto*:node 8:text 9:OperatorSetIdProto 10:text
    11:AttributeProto*:attribute_proto 12:ValueInfoProto 13:name:overload 14:StringStringEntryProto
DeviceConfigurationProto 1:text 2:int 3:text
NodeProto 1:names:input 2:names:output 3:name:name 4:name:op_type 5:AttributeProto*:attribute 6:text 7:name:domain 8:text
    9:StringStringEntryProto 10:NodeDeviceConfigurationProto
TensorProto 1:ints:dims 2:int:data_type 3:TensorProtoSegment:segment 4:f32s:float_data 5:varints:int32_data
    6:blobs:string_data 7:varints:int64_data 8:name:name 9:bytes:raw_data 10:f64s:double_data 11:varints:uint64_data 12:text
    13:StringStringEntryProto*:external_data 14:int:data_location 16:StringStringEntryProto
ValueInfoProto 1:text 2:TypeProto 3:text 4:StringStringEntryProto
TensorAnnotation 1:text 2:StringStringEntryProto
SparseTensorProto 1:TensorProto:values 2:TensorProto:indices 3:ints:dims
AttributeProto 1:name:name 2:float:f 3:int:i 4:bytes:s 5:TensorProto:t 6:GraphProto:g 7:f32s:floats 8:varints:ints
    9:blobs:strings 10:TensorProto*:tensors 11:GraphProto*:graphs 13:text 14:TypeProto 15:TypeProto 20:int 21:text
    22:SparseTensorProto:sparse_tensor 23:SparseTensorProto*:sparse_tensors
NodeDeviceConfigurationProto 1:text 2:ShardingSpecProto 3:int
TensorProtoSegment 1:int 2:int
TypeProto 1:TypeProtoTensor 4:TypeProtoSequence 5:TypeProtoMap 6:text 7:TypeProtoOpaque 8:TypeProtoSparseTensor
    9:TypeProtoOptional
ShardingSpecProto 1:text 2:ints 3:IntIntListEntryProto 4:ShardedDimProto
TypeProtoTensor 1:int 2:TensorShapeProto
TypeProtoSequence 1:TypeProto
TypeProtoMap 1:int 2:TypeProto
TypeProtoOpaque 1:text 2:text
TypeProtoSparseTensor 1:int 2:TensorShapeProto
TypeProtoOptional 1:TypeProto
IntIntListEntryProto 1:int 2:ints
ShardedDimProto 1:int 2:SimpleShardedDimProto
TensorShapeProto 1:TensorShapeProtoDimension
SimpleShardedDimProto 1:int 2:text 3:int
TensorShapeProtoDimension 1:int 2:text 3:text
"""
)
MODEL, GRAPH, NODE = _SCHEMAS["ModelProto"], _SCHEMAS["GraphProto"], _SCHEMAS["NodeProto"]
ATTRIBUTE, TENSOR, SPARSE = _SCHEMAS["AttributeProto"], _SCHEMAS["TensorProto"], _SCHEMAS["SparseTensorProto"]
FUNCTION, TRAINING, PAIR = _SCHEMAS["FunctionProto"], _SCHEMAS["TrainingInfoProto"], _SCHEMAS["StringStringEntryProto"]

# TensorProto.DataType: the name here, and the field that holds values which are not in raw_data
DATA_TYPES: Final = {
    1: ("F32", "float_data"),
    2: ("U8", "int32_data"),
    3: ("I8", "int32_data"),
    4: ("U16", "int32_data"),
    5: ("I16", "int32_data"),
    6: ("I32", "int32_data"),
    7: ("I64", "int64_data"),
    8: ("STRING", "string_data"),
    9: ("BOOL", "int32_data"),
    10: ("F16", "int32_data"),
    11: ("F64", "double_data"),
    12: ("U32", "uint64_data"),
    13: ("U64", "uint64_data"),
    14: ("C64", "float_data"),
    15: ("C128", "double_data"),
    16: ("BF16", "int32_data"),
    17: ("F8_E4M3", "int32_data"),
    18: ("F8_E4M3FNUZ", "int32_data"),
    19: ("F8_E5M2", "int32_data"),
    20: ("F8_E5M2FNUZ", "int32_data"),
    21: ("U4", "int32_data"),
    22: ("I4", "int32_data"),
    23: ("F4", "int32_data"),
    24: ("F8_E8M0", "int32_data"),
    25: ("U2", "int32_data"),
    26: ("I2", "int32_data"),
    27: ("F6_E2M3", "int32_data"),
    28: ("F6_E3M2", "int32_data"),
}
TYPED_FIELDS: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
A_NUMBER: Final = {"U4": 2, "I4": 2, "F4": 2, "U2": 4, "I2": 4}  # elements that one number of int32_data holds
INTEGERS: Final = frozenset(DTYPE_CODES[n] for n in "U8 I8 U16 I16 I32 U4 I4 U2 I2".split())
"""What quantised weights are stored as."""
