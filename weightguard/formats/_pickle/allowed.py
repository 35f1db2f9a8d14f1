"""Which names a checkpoint may call: a list of what is harmless, since no list of what is dangerous is ever complete.

Only what lies outside of this list is reported, by name. Calling an unknown function, or anything of Python's own
library, is "critical": that is how a pickle runs code. Making an instance of an unknown third-party class, or merely
naming something, is "low": it is how whole models and training arguments are saved.
"""

from __future__ import annotations

import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # two tables, no code

from weightguard.values import Severity

# Callables that call what they are given: the places of the callees among the arguments, the place of the tuple that the
# first of them is called with, and the places of classes of which they make an instance (`__new__`, no constructor).
# Nothing at all: the call opens a whole file that lies in its argument.
CALLS_ARGUMENTS: dict[str, tuple[tuple[int, ...], int | None, tuple[int, ...]]] = {
    "torch._tensor._rebuild_from_type_v2": ((0,), 2, (1,)),
    "torch._tensor._rebuild_from_type": ((0,), 2, (1,)),
    "torch.tensor._rebuild_from_type_v2": ((0,), 2, (1,)),
    "torch.tensor._rebuild_from_type": ((0,), 2, (1,)),
    "torch._utils._rebuild_wrapper_subclass": ((), None, (0,)),
    "copyreg._reconstructor": ((1,), 2, (0,)),
    "copyreg.__newobj__": ((), None, (0,)),
    "collections.defaultdict": ((0,), None, ()),
    "numpy.core.multiarray._reconstruct": ((), None, (0,)),
    "numpy._core.multiarray._reconstruct": ((), None, (0,)),
    "torch.storage._load_from_bytes": ((), None, ()),
    # numpy/random/_pickle.py: generator_ctor(name, ctor=__bit_generator_ctor) calls ctor(name), which calls a class
    "numpy.random._pickle.__generator_ctor": ((1,), None, (0,)),
    "numpy.random._pickle.__randomstate_ctor": ((1,), None, (0,)),
    "numpy.random._pickle.__bit_generator_ctor": ((0,), None, ()),
    # sklearn/neighbors/_binary_tree.pxi.tp, sklearn/metrics/_dist_metrics.pyx.tp: newObj(obj) is obj.__new__(obj)
    "sklearn.neighbors._kd_tree.newObj": ((), None, (0,)),
    "sklearn.neighbors._ball_tree.newObj": ((), None, (0,)),
    "sklearn.metrics._dist_metrics.newObj": ((), None, (0,)),
}
# Classes in lower case, and torch's own, of which NEWOBJ makes an instance that only takes its state. A function can't be
# made so: unpicklers refuse what isn't a type. Calling them is as bad as before.
_INSTANCES = frozenset(
    [
        "deepspeed.utils.tensor_fragment.fragment_address",
        "torch.nn.parallel.data_parallel.DataParallel",
        "torch.optim.Adafactor",
    ]
    + [
        f"scipy.sparse.{module}{form}.{form}_{kind}"
        for form in ("csr", "csc", "coo", "bsr", "dia", "lil", "dok")
        for kind in ("matrix", "array")
        for module in ("_", "")
    ]
    + [
        f"torch.distributed.{path}"
        for path in """
        tensor.DTensor tensor._api.DTensor _tensor.DTensor _tensor.api.DTensor tensor._dtensor_spec.DTensorSpec
        tensor._dtensor_spec.TensorMeta tensor._dtensor_spec.ShardOrderEntry _tensor._dtensor_spec.DTensorSpec
        _tensor._dtensor_spec.TensorMeta
        _tensor.placement_types.DTensorSpec _tensor.placement_types.TensorMeta _tensor.placement_types.Shard
        _tensor.placement_types.Replicate _tensor.placement_types.Partial _tensor.placement_types._Partial
        tensor.placement_types.Shard tensor.placement_types.Replicate tensor.placement_types.Partial
        tensor.placement_types._StridedShard tensor.placement_types._MaskPartial device_mesh.DeviceMesh
        _tensor.device_mesh.DeviceMesh _mesh_layout._MeshLayout _mesh_layout._FlatLayout
        """.split()
    ]
)

_NUMPY = (
    "numpy.{core}.multiarray._reconstruct numpy.{core}.multiarray.scalar numpy.{core}.numeric._frombuffer "
    "numpy.{core}.multiarray._frombuffer"
)
_NAMES = """
builtins.bool builtins.bytearray builtins.bytes builtins.complex builtins.dict builtins.float builtins.frozenset
builtins.int builtins.list builtins.object builtins.range builtins.set builtins.slice builtins.str builtins.tuple
builtins.Ellipsis builtins.NotImplemented
collections.Counter collections.OrderedDict collections.defaultdict collections.deque
copyreg._reconstructor copyreg.__newobj__ _codecs.encode re._compile
argparse.Namespace types.SimpleNamespace
random.Random datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone
decimal.Decimal fractions.Fraction uuid.UUID
numpy.ndarray numpy.dtype numpy.random._pickle.__randomstate_ctor numpy.random._pickle.__generator_ctor
numpy.random._pickle.__bit_generator_ctor sklearn.neighbors._kd_tree.newObj sklearn.neighbors._ball_tree.newObj
sklearn.metrics._dist_metrics.newObj numpy.random._mt19937.MT19937 numpy.random._pcg64.PCG64 numpy.random._pcg64.PCG64DXSM
numpy.random._philox.Philox numpy.random._sfc64.SFC64
torch.Size torch.device torch.Tensor torch.nn.parameter.Parameter torch.nn.parameter.Buffer torch.nn.Parameter
torch.serialization._get_layout torch.storage._load_from_bytes torch.storage.TypedStorage
torch.storage.UntypedStorage torch.storage._TypedStorage torch.storage._UntypedStorage
torch._tensor._rebuild_from_type torch._tensor._rebuild_from_type_v2 torch.tensor._rebuild_from_type
torch.tensor._rebuild_from_type_v2
torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2 torch._utils._rebuild_tensor_v3
torch._utils._rebuild_parameter torch._utils._rebuild_parameter_with_state torch._utils._rebuild_qtensor
torch._utils._rebuild_sparse_tensor torch._utils._rebuild_sparse_csr_tensor torch._utils._rebuild_nested_tensor
torch._utils._rebuild_meta_tensor_no_storage torch._utils._rebuild_wrapper_subclass
torch._utils._rebuild_device_tensor_from_numpy torch._utils._rebuild_device_tensor_from_cpu_tensor
torch._utils._rebuild_xla_tensor
torch.jit._pickle.build_intlist torch.jit._pickle.build_tensorlist torch.jit._pickle.build_doublelist
numpy.random.bit_generator.__pyx_unpickle_SeedSequence numpy.random.bit_generator.SeedSequence numpy.ma.core._mareconstruct
torch.jit._pickle.build_boollist torch.jit._pickle.build_tensor_from_id torch.jit._pickle.restore_type_tag
"""
_PATHS = "PosixPath WindowsPath PurePosixPath PureWindowsPath PurePath Path"

ALLOWED: frozenset[str] = frozenset(
    _NAMES.split()
    + [name for core in ("core", "_core") for name in _NUMPY.format(core=core).split()]
    + [f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS.split()]
)

# torch's constants: dtypes, layouts, quantisation and memory formats. They are values, and calling one fails.
_TORCH_VALUES: frozenset[str] = frozenset(
    """
    float double half bfloat16 float16 float32 float64 complex32 complex64 complex128 chalf cfloat cdouble
    uint8 uint16 uint32 uint64 int8 int16 int32 int64 short int long bool quint8 qint8 qint32 quint4x2 quint2x4
    float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2
    bits1x8 bits2x4 bits4x2 bits8 bits16 uint1 uint2 uint3 uint4 uint5 uint6 uint7 int1 int2 int3 int4 int5 int6 int7
    strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc
    per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams
    contiguous_format channels_last channels_last_3d preserve_format
    """.split()
)

# Packages whose classes (never functions) are part of saved models: instances that only take their state.
_CLASS_MODULES = ("torch.nn.modules.", "torch.optim.", "__torch__.")
_LAYERS = ("torch.nn.modules.", "torch.optim.")  # those of them that Python has: a constructor of theirs may call an argument
# Allowed, but with other arguments than a pickler writes they call, allot or set what these say: `calls` looks at each.
_LOOKED_AT = frozenset(
    """
    builtins.list builtins.tuple builtins.set builtins.frozenset builtins.bytes builtins.bytearray builtins.int builtins.float
    builtins.complex collections.deque collections.Counter torch.Size fractions.Fraction types.SimpleNamespace
    torch._utils._rebuild_parameter_with_state
    """.split()
)
# torch.distributed.checkpoint's descriptions, under the names of their modules before and after torch 2.0
_CHECKPOINT_CLASSES = frozenset(
    """
    Metadata MetadataIndex TensorStorageMetadata BytesStorageMetadata ChunkStorageMetadata TensorProperties StorageMeta
    _MEM_FORMAT_ENCODING _StorageInfo MEM_FORMAT_ENCODING ShardMetadata ShardedTensorMetadata ShardedTensor Shard
    """.split()
)
_CHECKPOINT_MODULES = re.compile(
    r"torch\.distributed\.(?:(?:_shard\.)?checkpoint\.(?:metadata|filesystem|_fsspec_filesystem)"
    r"|_shard\.metadata|_shard\.sharded_tensor\.(?:metadata|api|shard))"
)
_PYTHON_2_MODULES: frozenset[str] = frozenset(IMPORT_MAPPING) | {"__builtin__", "copy_reg", "exceptions", "popen2"}


def modern(module: str, name: str) -> tuple[str, str]:
    """The Python 3 name of a Python 2 name, as an unpickler maps it (CPython, `_compat_pickle`)."""
    if (module, name) in NAME_MAPPING:
        found: tuple[str, str] = NAME_MAPPING[module, name]
        return found
    return IMPORT_MAPPING.get(module, module), name


def is_allowed(module: str, name: str) -> bool:
    """Whether calling this name does nothing but make a plain value, a tensor or an instance that takes its state."""
    module, name = modern(module, name)
    if f"{module}.{name}" in ALLOWED:
        return True
    if "." in name:  # a nested name reaches into whatever the first part is
        return False
    if module == "torch" or module == "torch.cuda" or module.startswith("torch.cuda.sparse"):
        return name in _TORCH_VALUES or (looks_like_class(name) and name.endswith(("Storage", "Tensor")))
    if module in ("torch.sparse", "torch.cuda.sparse"):
        return looks_like_class(name) and name.endswith("Tensor")
    if module in ("numpy", "numpy.dtypes"):
        return _is_numpy_scalar(name) or name.endswith("DType")
    if name in _CHECKPOINT_CLASSES and _CHECKPOINT_MODULES.fullmatch(module):
        return True
    if module == "__torch__" or module.startswith(_CLASS_MODULES):
        return looks_like_class(name)
    return False


def is_layer(module: str) -> bool:
    """Whether a module's classes are torch's layers, losses, optimizers or schedules."""
    return module.startswith(_LAYERS)


def is_plain(module: str, name: str) -> bool:
    """Whether calling this name is harmless, whatever it is given."""
    path = ".".join(modern(module, name))
    return path not in CALLS_ARGUMENTS and path not in _LOOKED_AT and not is_layer(module) and is_allowed(module, name)


def judge(module: str, name: str, called: bool, opaque: bool, altered: bool = False, made: bool = False) -> Severity | None:
    """How serious it is that a pickle names this; None if not at all.

    called: it is called, instantiated, given a state or altered. opaque: what its call returns is called in turn, its
    arguments are what it would act on, or it is an extension code, so that nothing says what runs. altered: the class
    itself, not an instance, is given a state. made: all that is done is to make an instance, without its constructor.
    """
    if opaque:
        return "critical"
    if is_allowed(module, name):
        return "critical" if altered else None
    if (module, name) in _MERELY_NAMED and not called:
        return None
    root = module.split(".", 1)[0]
    if root in sys.stdlib_module_names or root in _PYTHON_2_MODULES or module in _PYTHON_2_MODULES:
        # only naming it is enough: a state given to an instance may plant it where a later opcode calls it
        return "critical"
    if f"{module}.{name}" in _INSTANCES and (made or not called):
        return None
    if module == "__main__" and made and "." not in name and name not in _WORKERS:
        return "low"  # a class of the program that saved the file
    *through, last = name.split(".")
    hops = any(not looks_like_class(part) or part in sys.stdlib_module_names for part in through)
    if called and (hops or root in _REACH or not looks_like_class(last) or last in _WORKERS):
        return "critical"  # a class of another name's module is what that module imported: Popen, CDLL, Pool
    return "critical" if called and not made and root in _ACTORS else "low"


# Harmless names that saved objects keep a reference to.
_MERELY_NAMED = frozenset({("typing", "Any"), ("builtins", "type"), ("types", "NoneType"), ("__builtin__", "type")})
# Packages whose saved classes are in the allow-list: any other of theirs reaches the system.
_REACH = frozenset(
    {"torch", "torchvision", "numpy", "__main__", "safetensors", "setuptools", "pip", "pkg_resources", "multiprocess"}
)
# Packages whose constructors reach the network, files or other processes, even without an argument.
_ACTORS = frozenset(
    """
    aiohttp boto3 botocore celery cloudpickle comet_ml dask dill distributed docker eventlet fabric fsspec gevent git h5py
    httplib2 httpx invoke jinja2 joblib kafka keyring mako mlflow onnxruntime pandas paramiko pexpect playwright plumbum psutil
    psycopg2 pyarrow pyautogui pymongo pymysql pynput ray redis requests s3fs selenium sqlalchemy tornado twisted urllib3 wandb
    watchdog websocket websockets win32com zmq
    """.split()
)
_WORKERS = frozenset({"Pool", "Process", "Popen", "Thread", "Timer", "CDLL", "ThreadPool", "ProcessPoolExecutor"})


def looks_like_class(name: str) -> bool:
    """Classes are Capitalised, functions aren't (PEP 8); a leading underscore says nothing."""
    bare = name.lstrip("_")
    return bare[:1].isupper()


def _is_numpy_scalar(name: str) -> bool:
    bare = name.rstrip("_0123456789")
    return bare in ("float", "int", "uint", "complex", "bool", "str", "bytes", "object", "void", "datetime", "timedelta")
