"""The messages of CoreML models, after mlmodel/format/Model.proto and MIL.proto of coremltools 9.0.

Of the kinds of models that are not read, only that they are there.
"""

from __future__ import annotations

from weightguard.formats._protobuf import schemas

SCHEMAS = schemas(
    """\
Model 1:int 2:ModelDescription 10:int 200:PipelineClassifier:pipelineClassifier 201:PipelineRegressor:pipelineRegressor
    202:Pipeline:pipeline 300:GLMRegressor:glmRegressor 301:bytes:supportVectorRegressor 302:bytes:treeEnsembleRegressor
    303:NeuralNetworkRegressor:neuralNetworkRegressor 304:bytes:bayesianProbitRegressor 400:GLMClassifier:glmClassifier
    401:bytes:supportVectorClassifier 402:bytes:treeEnsembleClassifier 403:NeuralNetworkClassifier:neuralNetworkClassifier
    404:bytes:kNearestNeighborsClassifier 500:NeuralNetwork:neuralNetwork 501:bytes:itemSimilarityRecommender
    502:Program:mlProgram 555:CustomModel:customModel 556:bytes:linkedModel
    560:ClassConfidenceThresholding:classConfidenceThresholding 600:OneHotEncoder:oneHotEncoder 601:Imputer:imputer
    602:FeatureVectorizer:featureVectorizer 603:DictVectorizer:dictVectorizer 604:Scaler:scaler 606:bytes:categoricalMapping
    607:Normalizer:normalizer 609:ArrayFeatureExtractor:arrayFeatureExtractor
    610:NonMaximumSuppression:nonMaximumSuppression 900:Identity:identity 2000:bytes:textClassifier 2001:bytes:wordTagger
    2002:bytes:visionFeaturePrint 2003:bytes:soundAnalysisPreprocessing 2004:bytes:gazetteer 2005:bytes:wordEmbedding
    2006:bytes:audioFeaturePrint 3000:bytes:serializedModel
ModelDescription 1:FeatureDescription 10:FeatureDescription 11:text 12:text 13:FeatureDescription 20:FunctionDescription
    21:text 50:FeatureDescription 100:Metadata
PipelineClassifier 1:Pipeline:pipeline
PipelineRegressor 1:Pipeline:pipeline
Pipeline 1:Model*:models 2:text
GLMRegressor 1:GLMRegressorDoubleArray 2:f64s 3:int
NeuralNetworkRegressor 1:NeuralNetworkLayer*:layers 2:NeuralNetworkPreprocessing 5:int 6:int 10:NetworkUpdateParameters
GLMClassifier 1:GLMClassifierDoubleArray 2:f64s 3:int 4:int 100:StringVector 101:Int64Vector
NeuralNetworkClassifier 1:NeuralNetworkLayer*:layers 2:NeuralNetworkPreprocessing 5:int 6:int 10:NetworkUpdateParameters
    100:StringVector 101:Int64Vector 200:text
NeuralNetwork 1:NeuralNetworkLayer*:layers 2:NeuralNetworkPreprocessing 5:int 6:int 10:NetworkUpdateParameters
Program 1:int 2:ProgramFunctionsEntry*:functions 3:text 4:ProgramAttributesEntry*:attributes
CustomModel 10:text 30:CustomModelParametersEntry 40:text
ClassConfidenceThresholding 100:PrecisionRecallCurve
OneHotEncoder 1:StringVector 2:Int64Vector 10:int 11:int
Imputer 1:double 2:int 3:text 4:DoubleVector 5:Int64Vector 6:StringToDoubleMap 7:Int64ToDoubleMap 11:double 12:int 13:text
FeatureVectorizer 1:FeatureVectorizerInputColumn
DictVectorizer 1:StringVector 2:Int64Vector
Scaler 1:f64s 2:f64s
Normalizer 1:int
ArrayFeatureExtractor 1:ints
NonMaximumSuppression 1:NonMaximumSuppressionPickTop 100:StringVector 101:Int64Vector 110:double 111:double 200:text
    201:text 202:text 203:text 210:text 211:text
Identity
FeatureDescription 1:text 2:text 3:FeatureType
FunctionDescription 1:text 2:FeatureDescription 3:FeatureDescription 4:text 5:text 6:FeatureDescription
Metadata 1:text 2:text 3:text 4:text 100:MetadataUserDefinedEntry
GLMRegressorDoubleArray 1:f64s
NeuralNetworkLayer 1:name:name 2:text 3:text 4:Tensor 5:Tensor 10:int 100:ConvolutionLayerParams 120:PoolingLayerParams
    130:ActivationParams 140:InnerProductLayerParams 150:EmbeddingLayerParams 160:BatchnormLayerParams
    165:MeanVarianceNormalizeLayerParams 170:L2NormalizeLayerParams 175:SoftmaxLayerParams 180:LRNLayerParams
    190:CropLayerParams 200:PaddingLayerParams 210:UpsampleLayerParams 211:ResizeBilinearLayerParams
    212:CropResizeLayerParams 220:UnaryFunctionLayerParams 230:AddLayerParams 231:MultiplyLayerParams 240:AverageLayerParams
    245:ScaleLayerParams 250:BiasLayerParams 260:MaxLayerParams 261:MinLayerParams 270:DotProductLayerParams
    280:ReduceLayerParams 290:LoadConstantLayerParams 300:ReshapeLayerParams 301:FlattenLayerParams 310:PermuteLayerParams
    320:ConcatLayerParams 330:SplitLayerParams 340:SequenceRepeatLayerParams 345:ReorganizeDataLayerParams
    350:SliceLayerParams 400:SimpleRecurrentLayerParams 410:GRULayerParams 420:UniDirectionalLSTMLayerParams
    430:BiDirectionalLSTMLayerParams 500:CustomLayerParams 600:CopyLayerParams 605:BranchLayerParams 615:LoopLayerParams
    620:LoopBreakLayerParams 625:LoopContinueLayerParams 635:RangeStaticLayerParams 640:RangeDynamicLayerParams
    660:ClipLayerParams 665:CeilLayerParams 670:FloorLayerParams 680:SignLayerParams 685:RoundLayerParams
    700:Exp2LayerParams 710:SinLayerParams 715:CosLayerParams 720:TanLayerParams 730:AsinLayerParams 735:AcosLayerParams
    740:AtanLayerParams 750:SinhLayerParams 755:CoshLayerParams 760:TanhLayerParams 770:AsinhLayerParams
    775:AcoshLayerParams 780:AtanhLayerParams 790:ErfLayerParams 795:GeluLayerParams 815:EqualLayerParams
    820:NotEqualLayerParams 825:LessThanLayerParams 827:LessEqualLayerParams 830:GreaterThanLayerParams
    832:GreaterEqualLayerParams 840:LogicalOrLayerParams 845:LogicalXorLayerParams 850:LogicalNotLayerParams
    855:LogicalAndLayerParams 865:ModBroadcastableLayerParams 870:MinBroadcastableLayerParams
    875:MaxBroadcastableLayerParams 880:AddBroadcastableLayerParams 885:PowBroadcastableLayerParams
    890:DivideBroadcastableLayerParams 895:FloorDivBroadcastableLayerParams 900:MultiplyBroadcastableLayerParams
    905:SubtractBroadcastableLayerParams 920:TileLayerParams 925:StackLayerParams 930:GatherLayerParams
    935:ScatterLayerParams 940:GatherNDLayerParams 945:ScatterNDLayerParams 950:SoftmaxNDLayerParams
    952:GatherAlongAxisLayerParams 954:ScatterAlongAxisLayerParams 960:ReverseLayerParams 965:ReverseSeqLayerParams
    975:SplitNDLayerParams 980:ConcatNDLayerParams 985:TransposeLayerParams 995:SliceStaticLayerParams
    1000:SliceDynamicLayerParams 1005:SlidingWindowsLayerParams 1015:TopKLayerParams 1020:ArgMinLayerParams
    1025:ArgMaxLayerParams 1040:EmbeddingNDLayerParams 1045:BatchedMatMulLayerParams 1065:GetShapeLayerParams
    1070:LoadConstantNDLayerParams 1080:FillLikeLayerParams 1085:FillStaticLayerParams 1090:FillDynamicLayerParams
    1100:BroadcastToLikeLayerParams 1105:BroadcastToStaticLayerParams 1110:BroadcastToDynamicLayerParams
    1120:SqueezeLayerParams 1125:ExpandDimsLayerParams 1130:FlattenTo2DLayerParams 1135:ReshapeLikeLayerParams
    1140:ReshapeStaticLayerParams 1145:ReshapeDynamicLayerParams 1150:RankPreservingReshapeLayerParams
    1155:ConstantPaddingLayerParams 1170:RandomNormalLikeLayerParams 1175:RandomNormalStaticLayerParams
    1180:RandomNormalDynamicLayerParams 1190:RandomUniformLikeLayerParams 1195:RandomUniformStaticLayerParams
    1200:RandomUniformDynamicLayerParams 1210:RandomBernoulliLikeLayerParams 1215:RandomBernoulliStaticLayerParams
    1220:RandomBernoulliDynamicLayerParams 1230:CategoricalDistributionLayerParams 1250:ReduceL1LayerParams
    1255:ReduceL2LayerParams 1260:ReduceMaxLayerParams 1265:ReduceMinLayerParams 1270:ReduceSumLayerParams
    1275:ReduceProdLayerParams 1280:ReduceMeanLayerParams 1285:ReduceLogSumLayerParams 1290:ReduceSumSquareLayerParams
    1295:ReduceLogSumExpLayerParams 1313:WhereNonZeroLayerParams 1315:MatrixBandPartLayerParams
    1320:LowerTriangularLayerParams 1325:UpperTriangularLayerParams 1330:WhereBroadcastableLayerParams
    1350:LayerNormalizationLayerParams 1400:NonMaximumSuppressionLayerParams 1450:OneHotLayerParams 1455:CumSumLayerParams
    1460:ClampedReLULayerParams 1461:ArgSortLayerParams 1465:Pooling3DLayerParams 1466:GlobalPooling3DLayerParams
    1470:SliceBySizeLayerParams 1471:Convolution3DLayerParams
NeuralNetworkPreprocessing 1:text 10:NeuralNetworkImageScaler 11:NeuralNetworkMeanImage
NetworkUpdateParameters 1:LossLayer 2:Optimizer 3:Int64Parameter 10:BoolParameter 20:Int64Parameter
GLMClassifierDoubleArray 1:f64s
StringVector 1:text
Int64Vector 1:ints
ProgramFunctionsEntry 1:name:key 2:Function:value
ProgramAttributesEntry 1:name:key 2:Value:value
CustomModelParametersEntry 1:text 2:CustomModelCustomModelParamValue
PrecisionRecallCurve 1:FloatVector 2:FloatVector 3:FloatVector 4:FloatVector
DoubleVector 1:f64s
StringToDoubleMap 1:StringToDoubleMapMapEntry
Int64ToDoubleMap 1:Int64ToDoubleMapMapEntry
FeatureVectorizerInputColumn 1:text 2:int
NonMaximumSuppressionPickTop 1:int
FeatureType 1:Int64FeatureType 2:DoubleFeatureType 3:StringFeatureType 4:ImageFeatureType 5:ArrayFeatureType
    6:DictionaryFeatureType 7:SequenceFeatureType 8:StateFeatureType 1000:int
MetadataUserDefinedEntry 1:text 2:text
Tensor 1:int 2:ints
ConvolutionLayerParams 1:int 2:int 10:int 20:ints 30:ints 40:ints 50:ValidPadding 51:SamePadding 60:int 70:int
    90:WeightParams 91:WeightParams 100:ints
PoolingLayerParams 1:int 10:ints 20:ints 30:ValidPadding 31:SamePadding 32:PoolingLayerParamsValidCompletePadding 50:int
    60:int
ActivationParams 5:ActivationLinear 10:ActivationReLU 15:ActivationLeakyReLU 20:ActivationThresholdedReLU 25:ActivationPReLU
    30:ActivationTanh 31:ActivationScaledTanh 40:ActivationSigmoid 41:ActivationSigmoidHard 50:ActivationELU
    60:ActivationSoftsign 70:ActivationSoftplus 71:ActivationParametricSoftplus
InnerProductLayerParams 1:int 2:int 10:int 20:WeightParams 21:WeightParams 22:int
EmbeddingLayerParams 1:int 2:int 10:int 20:WeightParams 21:WeightParams
BatchnormLayerParams 1:int 5:int 6:int 10:float 15:WeightParams 16:WeightParams 17:WeightParams 18:WeightParams
MeanVarianceNormalizeLayerParams 1:int 2:int 3:float
L2NormalizeLayerParams 1:float
SoftmaxLayerParams
LRNLayerParams 1:float 2:float 3:int 4:float
CropLayerParams 1:BorderAmounts 5:ints
PaddingLayerParams 1:PaddingLayerParamsPaddingConstant 2:PaddingLayerParamsPaddingReflection
    3:PaddingLayerParamsPaddingReplication 10:BorderAmounts
UpsampleLayerParams 1:ints 5:int 6:int 7:f32s
ResizeBilinearLayerParams 1:ints 2:SamplingMode
CropResizeLayerParams 1:ints 2:int 3:SamplingMode 4:BoxCoordinatesMode 5:float
UnaryFunctionLayerParams 1:int 2:float 3:float 4:float 5:float
AddLayerParams 1:float
MultiplyLayerParams 1:float
AverageLayerParams
ScaleLayerParams 1:ints 2:WeightParams 3:int 4:ints 5:WeightParams
BiasLayerParams 1:ints 2:WeightParams
MaxLayerParams
MinLayerParams
DotProductLayerParams 1:int
ReduceLayerParams 1:int 2:float 3:int
LoadConstantLayerParams 1:ints 2:WeightParams
ReshapeLayerParams 1:ints 2:int
FlattenLayerParams 1:int
PermuteLayerParams 1:ints
ConcatLayerParams 100:int
SplitLayerParams 1:int
SequenceRepeatLayerParams 1:int
ReorganizeDataLayerParams 1:int 2:int
SliceLayerParams 1:int 2:int 3:int 4:int
SimpleRecurrentLayerParams 1:int 2:int 10:ActivationParams 15:int 20:int 30:WeightParams 31:WeightParams 32:WeightParams
    100:int
GRULayerParams 1:int 2:int 10:ActivationParams 15:int 20:int 30:WeightParams 31:WeightParams 32:WeightParams 50:WeightParams
    51:WeightParams 52:WeightParams 70:WeightParams 71:WeightParams 72:WeightParams 100:int
UniDirectionalLSTMLayerParams 1:int 2:int 10:ActivationParams 15:LSTMParams 20:LSTMWeightParams 100:int
BiDirectionalLSTMLayerParams 1:int 2:int 10:ActivationParams 11:ActivationParams 15:LSTMParams 20:LSTMWeightParams
CustomLayerParams 10:text 20:WeightParams 30:CustomLayerParamsParametersEntry 40:text
CopyLayerParams
BranchLayerParams 1:NeuralNetwork 2:NeuralNetwork
LoopLayerParams 1:int 2:text 3:NeuralNetwork 4:NeuralNetwork
LoopBreakLayerParams
LoopContinueLayerParams
RangeStaticLayerParams 1:float 2:float 3:float
RangeDynamicLayerParams 2:float 3:float
ClipLayerParams 1:float 2:float
CeilLayerParams
FloorLayerParams
SignLayerParams
RoundLayerParams
Exp2LayerParams
SinLayerParams
CosLayerParams
TanLayerParams
AsinLayerParams
AcosLayerParams
AtanLayerParams
SinhLayerParams
CoshLayerParams
TanhLayerParams
AsinhLayerParams
AcoshLayerParams
AtanhLayerParams
ErfLayerParams
GeluLayerParams 1:int
EqualLayerParams 1:float
NotEqualLayerParams 1:float
LessThanLayerParams 2:float
LessEqualLayerParams 2:float
GreaterThanLayerParams 2:float
GreaterEqualLayerParams 2:float
LogicalOrLayerParams
LogicalXorLayerParams
LogicalNotLayerParams
LogicalAndLayerParams
ModBroadcastableLayerParams
MinBroadcastableLayerParams
MaxBroadcastableLayerParams
AddBroadcastableLayerParams
PowBroadcastableLayerParams
DivideBroadcastableLayerParams
FloorDivBroadcastableLayerParams
MultiplyBroadcastableLayerParams
SubtractBroadcastableLayerParams
TileLayerParams 1:ints
StackLayerParams 1:int
GatherLayerParams 1:int
ScatterLayerParams 1:int 2:int
GatherNDLayerParams
ScatterNDLayerParams 1:int
SoftmaxNDLayerParams 1:int
GatherAlongAxisLayerParams 1:int
ScatterAlongAxisLayerParams 1:int 2:int
ReverseLayerParams 1:ints
ReverseSeqLayerParams 1:int 2:int
SplitNDLayerParams 1:int 2:int 3:ints
ConcatNDLayerParams 1:int 2:int
TransposeLayerParams 1:ints
SliceStaticLayerParams 1:ints 2:ints 3:ints 4:ints 5:ints 6:ints
SliceDynamicLayerParams 2:ints 3:ints 4:ints 5:ints 6:ints
SlidingWindowsLayerParams 1:int 2:int 3:int
TopKLayerParams 1:int 2:int 3:int
ArgMinLayerParams 1:int 2:int
ArgMaxLayerParams 1:int 2:int
EmbeddingNDLayerParams 1:int 2:int 3:int 20:WeightParams 21:WeightParams
BatchedMatMulLayerParams 1:int 2:int 5:int 6:int 7:int 8:WeightParams 9:WeightParams 10:int
GetShapeLayerParams
LoadConstantNDLayerParams 1:ints 2:WeightParams
FillLikeLayerParams 1:float
FillStaticLayerParams 1:float 2:ints
FillDynamicLayerParams 1:float
BroadcastToLikeLayerParams
BroadcastToStaticLayerParams 1:ints
BroadcastToDynamicLayerParams
SqueezeLayerParams 1:ints 2:int
ExpandDimsLayerParams 1:ints
FlattenTo2DLayerParams 1:int
ReshapeLikeLayerParams
ReshapeStaticLayerParams 1:ints
ReshapeDynamicLayerParams
RankPreservingReshapeLayerParams 1:ints
ConstantPaddingLayerParams 1:float 2:ints 3:int
RandomNormalLikeLayerParams 1:int 2:float 3:float
RandomNormalStaticLayerParams 1:int 2:float 3:float 4:ints
RandomNormalDynamicLayerParams 1:int 2:float 3:float
RandomUniformLikeLayerParams 1:int 2:float 3:float
RandomUniformStaticLayerParams 1:int 2:float 3:float 4:ints
RandomUniformDynamicLayerParams 1:int 2:float 3:float
RandomBernoulliLikeLayerParams 1:int 2:float
RandomBernoulliStaticLayerParams 1:int 2:float 3:ints
RandomBernoulliDynamicLayerParams 1:int 2:float
CategoricalDistributionLayerParams 1:int 2:int 3:int 4:float 5:float
ReduceL1LayerParams 1:ints 2:int 3:int
ReduceL2LayerParams 1:ints 2:int 3:int
ReduceMaxLayerParams 1:ints 2:int 3:int
ReduceMinLayerParams 1:ints 2:int 3:int
ReduceSumLayerParams 1:ints 2:int 3:int
ReduceProdLayerParams 1:ints 2:int 3:int
ReduceMeanLayerParams 1:ints 2:int 3:int
ReduceLogSumLayerParams 1:ints 2:int 3:int
ReduceSumSquareLayerParams 1:ints 2:int 3:int
ReduceLogSumExpLayerParams 1:ints 2:int 3:int
WhereNonZeroLayerParams
MatrixBandPartLayerParams 1:int 2:int
LowerTriangularLayerParams 1:int
UpperTriangularLayerParams 1:int
WhereBroadcastableLayerParams
LayerNormalizationLayerParams 1:ints 2:float 3:WeightParams 4:WeightParams
NonMaximumSuppressionLayerParams 1:float 2:float 3:int 4:int
OneHotLayerParams 1:int 2:int 3:float 4:float
CumSumLayerParams 1:int 2:int 3:int
ClampedReLULayerParams 1:float 2:float
ArgSortLayerParams 1:int 2:int
Pooling3DLayerParams 1:int 2:int 3:int 4:int 5:int 6:int 7:int 8:int 9:int 10:int 11:int 12:int 13:int 14:int 15:int
GlobalPooling3DLayerParams 1:int
SliceBySizeLayerParams 2:int 3:int
Convolution3DLayerParams 1:int 2:int 10:int 20:int 21:int 22:int 31:int 32:int 33:int 40:int 41:int 42:int 50:int
    60:WeightParams 61:WeightParams 70:int 80:int 81:int 82:int 83:int 84:int 85:int 86:int 87:ints
NeuralNetworkImageScaler 10:float 20:float 21:float 22:float 30:float
NeuralNetworkMeanImage 1:f32s
LossLayer 1:text 10:CategoricalCrossEntropyLossLayer 11:MeanSquaredErrorLossLayer
Optimizer 10:SGDOptimizer 11:AdamOptimizer
Int64Parameter 1:int 10:Int64Range 11:Int64Set
BoolParameter 1:int
Function 1:NamedValueType 2:text 3:FunctionBlockSpecializationsEntry*:block_specializations
    4:FunctionAttributesEntry*:attributes
Value 1:text 2:ValueType:type 3:ValueImmediateValue:immediateValue 5:ValueBlobFileValue:blobFileValue
CustomModelCustomModelParamValue 10:double 20:text 30:int 40:int 50:int 60:text
FloatVector 1:f32s
StringToDoubleMapMapEntry 1:text 2:double
Int64ToDoubleMapMapEntry 1:int 2:double
Int64FeatureType
DoubleFeatureType
StringFeatureType
ImageFeatureType 1:int 2:int 3:int 21:ImageFeatureTypeEnumeratedImageSizes 31:ImageFeatureTypeImageSizeRange
ArrayFeatureType 1:ints 2:int 21:ArrayFeatureTypeEnumeratedShapes 31:ArrayFeatureTypeShapeRange 41:int 51:float 61:double
DictionaryFeatureType 1:Int64FeatureType 2:StringFeatureType
SequenceFeatureType 1:Int64FeatureType 3:StringFeatureType 101:SizeRange
StateFeatureType 1:ArrayFeatureType
ValidPadding 1:BorderAmounts
SamePadding 1:int
WeightParams 1:f32s:floatValue 2:bytes:float16Value 30:bytes:rawValue 31:bytes:int8RawValue
    40:QuantizationParams:quantization 50:int
PoolingLayerParamsValidCompletePadding 10:ints
ActivationLinear 1:float 2:float
ActivationReLU
ActivationLeakyReLU 1:float
ActivationThresholdedReLU 1:float
ActivationPReLU 1:WeightParams
ActivationTanh
ActivationScaledTanh 1:float 2:float
ActivationSigmoid
ActivationSigmoidHard 1:float 2:float
ActivationELU 1:float
ActivationSoftsign
ActivationSoftplus
ActivationParametricSoftplus 1:WeightParams 2:WeightParams
BorderAmounts 10:BorderAmountsEdgeSizes
PaddingLayerParamsPaddingConstant 1:float
PaddingLayerParamsPaddingReflection
PaddingLayerParamsPaddingReplication
SamplingMode 1:int
BoxCoordinatesMode 1:int
LSTMParams 10:int 20:int 30:int 40:int 50:int 60:float
LSTMWeightParams 1:WeightParams 2:WeightParams 3:WeightParams 4:WeightParams 20:WeightParams 21:WeightParams 22:WeightParams
    23:WeightParams 40:WeightParams 41:WeightParams 42:WeightParams 43:WeightParams 60:WeightParams 61:WeightParams
    62:WeightParams
CustomLayerParamsParametersEntry 1:text 2:CustomLayerParamsCustomLayerParamValue
CategoricalCrossEntropyLossLayer 1:text 2:text
MeanSquaredErrorLossLayer 1:text 2:text
SGDOptimizer 1:DoubleParameter 2:Int64Parameter 3:DoubleParameter
AdamOptimizer 1:DoubleParameter 2:Int64Parameter 3:DoubleParameter 4:DoubleParameter 5:DoubleParameter
Int64Range 1:int 2:int
Int64Set 1:ints
NamedValueType 1:name:name 2:ValueType:type
FunctionBlockSpecializationsEntry 1:name:key 2:Block:value
FunctionAttributesEntry 1:name:key 2:Value:value
ValueType 1:TensorType:tensorType 2:ListType 3:TupleType 4:DictionaryType 5:StateType
ValueImmediateValue 1:TensorValue:tensor 2:TupleValue 3:ListValue 4:DictionaryValue
ValueBlobFileValue 1:name:fileName 2:int:offset
ImageFeatureTypeEnumeratedImageSizes 1:ImageFeatureTypeImageSize
ImageFeatureTypeImageSizeRange 1:SizeRange 2:SizeRange
ArrayFeatureTypeEnumeratedShapes 1:ArrayFeatureTypeShape
ArrayFeatureTypeShapeRange 1:SizeRange
SizeRange 1:int 2:int
QuantizationParams 1:int:numberOfBits 101:LinearQuantizationParams:linearQuantization
    102:LookUpTableQuantizationParams:lookupTableQuantization
BorderAmountsEdgeSizes 1:int 2:int
CustomLayerParamsCustomLayerParamValue 10:double 20:text 30:int 40:int 50:int
DoubleParameter 1:double 10:DoubleRange
Block 1:NamedValueType 2:text 3:Operation*:operations 4:BlockAttributesEntry*:attributes
TensorType 1:int:dataType 2:int 3:Dimension*:dimensions 4:TensorTypeAttributesEntry
ListType 1:ValueType 2:Dimension
TupleType 1:ValueType
DictionaryType 1:ValueType 2:ValueType
StateType 1:ValueType
TensorValue 1:TensorValueRepeatedFloats:floats 2:TensorValueRepeatedInts:ints 3:TensorValueRepeatedBools:bools
    4:TensorValueRepeatedStrings:strings 5:TensorValueRepeatedLongInts:longInts 6:TensorValueRepeatedDoubles:doubles
    7:TensorValueRepeatedBytes:bytes
TupleValue 1:Value
ListValue 1:Value
DictionaryValue 1:DictionaryValueKeyValuePair
ImageFeatureTypeImageSize 1:int 2:int
ArrayFeatureTypeShape 1:ints
LinearQuantizationParams 1:f32s:scale 2:f32s:bias
LookUpTableQuantizationParams 1:f32s:floatValue
DoubleRange 1:double 2:double
Operation 1:name:type 2:OperationInputsEntry*:inputs 3:NamedValueType*:outputs 4:Block*:blocks
    5:OperationAttributesEntry*:attributes
BlockAttributesEntry 1:name:key 2:Value:value
Dimension 1:DimensionConstantDimension:constant 2:DimensionUnknownDimension
TensorTypeAttributesEntry 1:text 2:Value
TensorValueRepeatedFloats 1:f32s:values
TensorValueRepeatedInts 1:varints:values
TensorValueRepeatedBools 1:varints:values
TensorValueRepeatedStrings 1:blobs:values
TensorValueRepeatedLongInts 1:varints:values
TensorValueRepeatedDoubles 1:f64s:values
TensorValueRepeatedBytes 1:bytes:values
DictionaryValueKeyValuePair 1:Value 2:Value
OperationInputsEntry 1:name:key 2:Argument:value
OperationAttributesEntry 1:name:key 2:Value:value
DimensionConstantDimension 1:int:size
DimensionUnknownDimension 1:int
Argument 1:ArgumentBinding*:arguments
ArgumentBinding 1:name:name 2:Value:value
"""
)
