"""The messages of a SavedModel, after core/protobuf/saved_model.proto of TensorFlow 2.21 and all that it imports."""

from __future__ import annotations

from weightguard.formats._protobuf import schemas

_SCHEMAS = schemas(
    """\
SavedModel 1:int 2:MetaGraphDef*:meta_graphs
MetaGraphDef 1:MetaGraphDefMetaInfoDef 2:GraphDef:graph_def 3:SaverDef 4:MetaGraphDefCollectionDefEntry
    5:MetaGraphDefSignatureDefEntry 6:AssetFileDef 7:SavedObjectGraph
MetaGraphDefMetaInfoDef 1:text 2:OpList 3:Any 4:text 5:text 6:text 7:int 8:MetaGraphDefMetaInfoDefFunctionAliasesEntry
GraphDef 1:NodeDef*:node 2:FunctionDefLibrary:library 3:int 4:VersionDef 5:GraphDebugInfo
SaverDef 1:text 2:text 3:text 4:int 5:int 6:float 7:int
MetaGraphDefCollectionDefEntry 1:text 2:CollectionDef
MetaGraphDefSignatureDefEntry 1:text 2:SignatureDef
AssetFileDef 1:TensorInfo 2:text
SavedObjectGraph 1:SavedObject 2:SavedObjectGraphConcreteFunctionsEntry
OpList 1:OpDef
Any 1:text 2:text
MetaGraphDefMetaInfoDefFunctionAliasesEntry 1:text 2:text
NodeDef 1:name:name 2:name:op 3:text 4:text 5:NodeDefAttrEntry*:attr 6:NodeDefExperimentalDebugInfo 7:FullTypeDef
FunctionDefLibrary 1:FunctionDef*:function 2:GradientDef 3:RegisteredGradient
VersionDef 1:int 2:int 3:ints
GraphDebugInfo 1:text 2:GraphDebugInfoTracesEntry 4:GraphDebugInfoFramesByIdEntry 5:GraphDebugInfoNameToTraceIdEntry
    6:GraphDebugInfoTracesByIdEntry
CollectionDef 1:CollectionDefNodeList 2:CollectionDefBytesList 3:CollectionDefInt64List 4:CollectionDefFloatList
    5:CollectionDefAnyList
SignatureDef 1:SignatureDefInputsEntry 2:SignatureDefOutputsEntry 3:text 4:SignatureDefDefaultsEntry
TensorInfo 1:text 2:int 3:TensorShapeProto 4:TensorInfoCooSparse 5:TensorInfoCompositeTensor
SavedObject 1:TrackableObjectGraphTrackableObjectObjectReference 3:TrackableObjectGraphTrackableObjectSlotVariableReference
    4:SavedUserObject 5:SavedAsset 6:SavedFunction 7:SavedVariable 8:SavedBareConcreteFunction 9:SavedConstant
    10:SavedResource 11:SavedObjectSaveableObjectsEntry 12:CapturedTensor 13:text 14:Any
    15:TrackableObjectGraphTrackableObjectObjectReference 16:text
SavedObjectGraphConcreteFunctionsEntry 1:text 2:SavedConcreteFunction
OpDef 1:text 2:OpDefArgDef 3:OpDefArgDef 4:OpDefAttrDef 5:text 6:text 8:OpDeprecation 16:int 17:int 18:int 19:int 20:text
    21:int
NodeDefAttrEntry 1:name:key 2:AttrValue:value
NodeDefExperimentalDebugInfo 1:text 2:text
FullTypeDef 1:int 2:FullTypeDef 3:text 4:int
FunctionDef 1:OpDef 3:NodeDef*:node_def 4:FunctionDefRetEntry 5:FunctionDefAttrEntry*:attr 6:FunctionDefControlRetEntry
    7:FunctionDefArgAttrEntry 8:FunctionDefResourceArgUniqueIdEntry
GradientDef 1:text 2:text
RegisteredGradient 1:text 2:text
GraphDebugInfoTracesEntry 1:text 2:GraphDebugInfoStackTrace
GraphDebugInfoFramesByIdEntry 1:double 2:GraphDebugInfoFileLineCol
GraphDebugInfoNameToTraceIdEntry 1:text 2:double
GraphDebugInfoTracesByIdEntry 1:double 2:GraphDebugInfoStackTrace
CollectionDefNodeList 1:text
CollectionDefBytesList 1:text
CollectionDefInt64List 1:ints
CollectionDefFloatList 1:f32s
CollectionDefAnyList 1:Any
SignatureDefInputsEntry 1:text 2:TensorInfo
SignatureDefOutputsEntry 1:text 2:TensorInfo
SignatureDefDefaultsEntry 1:text 2:TensorProto
TensorShapeProto 2:TensorShapeProtoDim*:dim 3:int
TensorInfoCooSparse 1:text 2:text 3:text
TensorInfoCompositeTensor 1:TypeSpecProto 2:TensorInfo
TrackableObjectGraphTrackableObjectObjectReference 1:int 2:text
TrackableObjectGraphTrackableObjectSlotVariableReference 1:int 2:text 3:int
SavedUserObject 1:text 2:VersionDef 3:text
SavedAsset 1:int
SavedFunction 1:text 2:FunctionSpec
SavedVariable 1:int 2:TensorShapeProto 3:int 4:int 5:int 6:text 7:text 8:SavedVariable
SavedBareConcreteFunction 1:text 2:text 3:int 4:FunctionSpec
SavedConstant 1:text
SavedResource 1:text
SavedObjectSaveableObjectsEntry 1:text 2:SaveableObject
CapturedTensor 1:text 2:text
SavedConcreteFunction 2:ints 3:StructuredValue 4:StructuredValue
OpDefArgDef 1:text 2:text 3:int 4:text 5:text 6:text 7:ResourceHandleProtoDtypeAndShape 16:int 17:FullTypeDef
OpDefAttrDef 1:text 2:text 3:AttrValue 4:text 5:int 6:int 7:AttrValue
OpDeprecation 1:int 2:text
AttrValue 1:AttrValueListValue:list 2:bytes:s 3:int 4:float 5:int 6:int 7:TensorShapeProto 8:TensorProto:tensor 9:text
    10:NameAttrList:func
FunctionDefRetEntry 1:text 2:text
FunctionDefAttrEntry 1:name:key 2:AttrValue:value
FunctionDefControlRetEntry 1:text 2:text
FunctionDefArgAttrEntry 1:int 2:FunctionDefArgAttrs
FunctionDefResourceArgUniqueIdEntry 1:int 2:int
GraphDebugInfoStackTrace 1:GraphDebugInfoFileLineCol 2:double
GraphDebugInfoFileLineCol 1:int 2:int 3:int 4:text 5:text
TensorProto 1:int:dtype 2:TensorShapeProto:tensor_shape 3:int 4:bytes:tensor_content 5:f32s:float_val 6:f64s:double_val
    7:varints:int_val 8:blobs:string_val 9:f32s:scomplex_val 10:varints:int64_val 11:varints:bool_val 12:f64s:dcomplex_val
    13:varints:half_val 14:ResourceHandleProto 15:VariantTensorDataProto*:variant_val 16:varints:uint32_val
    17:varints:uint64_val 18:bytes:float8_val
TensorShapeProtoDim 1:int:size 2:text
TypeSpecProto 1:int 2:StructuredValue 3:text 4:int
FunctionSpec 1:StructuredValue 2:int 5:StructuredValue 6:int
SaveableObject 2:int 3:int
StructuredValue 1:NoneValue 11:double 12:int 13:text 14:int 31:TensorShapeProto 32:int 33:TensorSpecProto 34:TypeSpecProto
    35:BoundedTensorSpecProto 51:ListValue 52:TupleValue 53:DictValue 54:NamedTupleValue 55:TensorProto 56:TensorProto
ResourceHandleProtoDtypeAndShape 1:int 2:TensorShapeProto
AttrValueListValue 2:blobs:s 3:varints:i 4:f32s:f 5:ints 6:ints 7:TensorShapeProto 8:TensorProto*:tensor
    9:NameAttrList*:func
NameAttrList 1:text 2:NameAttrListAttrEntry*:attr
FunctionDefArgAttrs 1:FunctionDefArgAttrsAttrEntry
ResourceHandleProto 1:text 2:text 3:text 4:int 5:text 6:ResourceHandleProtoDtypeAndShape
VariantTensorDataProto 1:text 2:text 3:TensorProto
NoneValue
TensorSpecProto 1:text 2:TensorShapeProto 3:int
BoundedTensorSpecProto 1:text 2:TensorShapeProto 3:int 4:TensorProto 5:TensorProto
ListValue 1:StructuredValue
TupleValue 1:StructuredValue
DictValue 1:DictValueFieldsEntry
NamedTupleValue 1:text 2:PairValue
NameAttrListAttrEntry 1:name:key 2:AttrValue:value
FunctionDefArgAttrsAttrEntry 1:text 2:AttrValue
DictValueFieldsEntry 1:text 2:StructuredValue
PairValue 1:text 2:StructuredValue
"""
)
SAVED_MODEL, META_GRAPH, GRAPH = _SCHEMAS["SavedModel"], _SCHEMAS["MetaGraphDef"], _SCHEMAS["GraphDef"]
LIBRARY, FUNCTION, NODE = _SCHEMAS["FunctionDefLibrary"], _SCHEMAS["FunctionDef"], _SCHEMAS["NodeDef"]
ATTRIBUTE, VALUE, LIST = _SCHEMAS["NodeDefAttrEntry"], _SCHEMAS["AttrValue"], _SCHEMAS["AttrValueListValue"]
FUNCTION_NAME, TENSOR = _SCHEMAS["NameAttrList"], _SCHEMAS["TensorProto"]
SHAPE, DIMENSION = _SCHEMAS["TensorShapeProto"], _SCHEMAS["TensorShapeProtoDim"]
