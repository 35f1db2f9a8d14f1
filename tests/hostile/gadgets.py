"""What a pickle can call: one row a callable or chain of callables that reaches code, files or the network.

Sources: the public advisories and issues of picklescan, modelscan, fickling and modelaudit, the CVE entries named in the rows, and
"The Art of Hide and Seek" (arXiv 2508.19774); each row is written anew. Payloads write an empty file in the working folder, or
would reach a host under .invalid.
"""

from __future__ import annotations

import base64
import marshal
import zlib
from collections.abc import Iterator

from tests.hostile import libraries
from tests.hostile.case import MARK, SHELL, SOURCE, Call, Case, Name, stream

N, C = Name, Call

_GETATTR = N("builtins", "getattr")
_IMPORT = N("builtins", "__import__")
_EVAL_SOURCE = f"open({MARK!r}, 'w').close()"
_CODE = marshal.dumps(compile(SOURCE, "<s>", "exec"))
_URL = "http://weightguard.invalid/x"
_INNER = stream(C(N("posix", "system"), SHELL))
_SH = ["/bin/sh", "-c", SHELL]


def _attribute(of: object, name: str) -> Call:
    return C(_GETATTR, of, name)


def _module(name: str) -> Call:
    return C(N("importlib", "import_module"), name)


def _method(name: str, *args: object) -> Call:
    return C(N("operator", "methodcaller"), name, *args)


def _partial(*args: object) -> Call:
    return C(N("functools", "partial"), *args)


# (name, expression, how it is made live or "", why)
ROWS: tuple[tuple[str, object, str, str], ...] = (
    # commands
    ("os-system", C(N("os", "system"), SHELL), "pickle", "a shell command"),
    ("posix-system", C(N("posix", "system"), SHELL), "pickle", "os under its real name"),
    ("nt-system", C(N("nt", "system"), SHELL), "", "os under its name on Windows"),
    ("os-popen", C(N("os", "popen"), SHELL), "pickle", "a shell command"),
    ("os-execv", C(N("os", "execv"), "/bin/sh", _SH), "", "replaces the process"),
    ("os-spawnv", C(N("os", "spawnv"), 0, "/bin/sh", _SH), "pickle", "a process"),
    ("os-posix-spawn", C(N("os", "posix_spawn"), "/bin/sh", _SH, {}), "pickle", "a process"),
    ("os-startfile", C(N("os", "startfile"), "x"), "", "Windows only"),
    ("os-remove", C(N("os", "remove"), "nothing-here"), "", "deletes a file"),
    ("os-putenv", C(N("os", "putenv"), "LD_PRELOAD", "x.so"), "", "plants a library for the next process"),
    ("subprocess-popen", C(N("subprocess", "Popen"), _SH), "pickle", "a process, by a class"),
    ("subprocess-run", C(N("subprocess", "run"), _SH), "pickle", "a process"),
    ("subprocess-check-output", C(N("subprocess", "check_output"), _SH), "pickle", "a process"),
    ("subprocess-getoutput", C(N("subprocess", "getoutput"), SHELL), "pickle", "a shell command"),
    ("commands-getoutput", C(N("commands", "getoutput"), SHELL), "pickle", "Python 2's name, mapped by the unpickler"),
    ("popen2", C(N("popen2", "popen2"), SHELL), "", "Python 2 only"),
    ("posixsubprocess", C(N("_posixsubprocess", "fork_exec")), "", "the call under subprocess"),
    ("pty-spawn", C(N("pty", "spawn"), _SH), "pickle", "fickling GHSA-r7v6-mfhq-g3m2"),
    ("platform-popen", C(N("platform", "popen"), SHELL), "", "gone since Python 3.8"),
    ("uuid-stdout", C(N("uuid", "_get_command_stdout"), "sh", "-c", SHELL), "", "fickling GHSA-5hwf-rc88-82xm"),
    ("osx-support", C(N("_osx_support", "_read_output"), SHELL), "pickle", "picklescan GHSA-g38g-8gr9-h9xp"),
    ("osx-find-tool", C(N("_osx_support", "_find_build_tool"), f"x; {SHELL}"), "pickle", "picklescan GHSA-g38g-8gr9-h9xp"),
    ("aix-support", C(N("_aix_support", "_read_cmd_output"), SHELL), "", "picklescan GHSA-g38g-8gr9-h9xp"),
    ("pyrepl-pager", C(N("_pyrepl.pager", "pipe_pager"), "", SHELL), "pickle", "picklescan GHSA-g38g-8gr9-h9xp (3.13)"),
    (
        "imaplib-stream",
        C(N("imaplib", "IMAP4_stream"), SHELL),
        "pickle",
        "picklescan GHSA-g38g-8gr9-h9xp: a command, not a mail box",
    ),
    (
        "script-helper",
        C(N("test.support.script_helper", "assert_python_ok"), "-c", SOURCE),
        "pickle",
        "picklescan GHSA-g38g-8gr9-h9xp",
    ),
    ("pydoc-pipepager", C(N("pydoc", "pipepager"), "", SHELL), "pickle", "a command that shows a text"),
    ("pydoc-tempfilepager", C(N("pydoc", "tempfilepager"), "", f"{SHELL} #"), "pickle", "the same over a file"),
    ("multiprocessing-spawnv", C(N("multiprocessing.util", "spawnv_passfds"), b"/bin/sh", _SH, ()), "pickle", "modelscan #338"),
    (
        "asyncio-transport",
        C(N("asyncio.unix_events", "_UnixSubprocessTransport._start"), {}, SHELL, True, None, None, None, 0),
        "pickle",
        "CVE-2025-10157",
    ),
    ("distutils-spawn", C(N("distutils.spawn", "spawn"), _SH), "pickle", "a process"),
    ("distutils-exec", C(N("distutils.core", "run_setup"), "nothing.py"), "", "runs a file of Python"),
    ("ensurepip", C(N("ensurepip", "_run_pip"), ["--version"]), "pickle", "picklescan GHSA-xp4f-hrf8-rxw7"),
    ("pip-main", C(N("pip", "main"), ["--version"]), "", "CVE-2025-1716: installs what the file says"),
    ("pip-internal", C(N("pip._internal.cli.main", "main"), ["--version"]), "", "the same by another name"),
    (
        "venv-create",
        C(N("venv", "create"), "venv", False, False, True, False, "$(echo weightguard)"),
        "pickle",
        "picklescan: venv",
    ),
    ("webbrowser-open", C(N("webbrowser", "open"), _URL), "", "a browser, a program of the user's choice"),
    ("antigravity", C(_IMPORT, "antigravity"), "", "a module that acts when it is imported"),
    ("subprocess-interpreter", C(N("_interpreters", "run_string"), 0, SOURCE), "", "fickling GHSA-6ggj-6f2q-f7mx"),
    (
        "xxsubinterpreters",
        C(N("_xxsubinterpreters", "run_string"), C(N("_xxsubinterpreters", "create")), SOURCE),
        "pickle",
        "the same on Python 3.8 to 3.12",
    ),
    # source and code
    ("eval", C(N("builtins", "eval"), _EVAL_SOURCE), "pickle", "an expression"),
    ("exec", C(N("builtins", "exec"), SOURCE), "pickle", "source"),
    ("py2-eval", C(N("__builtin__", "eval"), _EVAL_SOURCE), "pickle", "Python 2's name of builtins"),
    ("py2-apply", C(N("__builtin__", "apply"), N("os", "system"), [SHELL]), "", "Python 2 only"),
    ("execfile", C(N("__builtin__", "execfile"), "nothing.py"), "", "Python 2 only"),
    ("compile-eval", C(N("builtins", "eval"), C(N("builtins", "compile"), SOURCE, "s", "exec")), "pickle", "compiled first"),
    ("import-getattr", C(_attribute(C(_IMPORT, "os"), "system"), SHELL), "pickle", "CVE-2026-22612: no name but builtins"),
    ("breakpoint", C(N("builtins", "breakpoint")), "", "whatever $PYTHONBREAKPOINT names"),
    ("open-write", C(N("builtins", "open"), MARK, "w"), "pickle", "makes or empties a file"),
    ("io-open", C(N("io", "open"), MARK, "w"), "pickle", "the same"),
    ("io-fileio", C(N("_io", "FileIO"), MARK, "w"), "pickle", "the same, by a class"),
    ("io-open-code", C(N("io", "open_code"), "/etc/hostname"), "", "reads a file"),
    ("runpy-run-code", C(N("runpy", "_run_code"), SOURCE, {}), "pickle", "fickling GHSA-wfq2-52f7-7qvj"),
    ("runpy-run-path", C(N("runpy", "run_path"), "nothing.py"), "", "a file of Python"),
    ("runpy-run-module", C(N("runpy", "run_module"), "this"), "", "a module"),
    ("cprofile-run", C(N("cProfile", "run"), SOURCE), "pickle", "fickling GHSA-p523-jq9w-64x9"),
    ("cprofile-runctx", C(N("cProfile", "runctx"), SOURCE, {}, {}), "pickle", "picklescan GHSA-9w88-8rmg-7g2p"),
    ("profile-run", C(N("profile", "run"), SOURCE), "pickle", "picklescan GHSA-7wx9-6375-f5wh"),
    (
        "profile-method",
        C(N("profile", "Profile.run"), C(N("profile", "Profile")), SOURCE),
        "pickle",
        "picklescan GHSA-x696-vm39-cp64",
    ),
    ("trace-run", C(N("trace", "Trace.run"), C(N("trace", "Trace")), SOURCE), "pickle", "picklescan GHSA-5qwp-399c-mjwf"),
    ("trace-runctx", C(N("trace", "Trace.runctx"), C(N("trace", "Trace")), SOURCE), "pickle", "picklescan GHSA-g344-hcph-8vgg"),
    ("bdb-run", C(N("bdb", "Bdb.run"), C(N("bdb", "Bdb")), SOURCE), "", "a debugger's run"),
    ("pdb-run", C(N("pdb", "run"), SOURCE), "", "stops and asks before it runs"),
    ("doctest-debug", C(N("doctest", "debug_script"), SOURCE, True), "", "picklescan GHSA-fqq6-7vqf-w3fg"),
    ("timeit", C(N("timeit", "timeit"), SOURCE, "pass", N("time", "perf_counter"), 1), "pickle", "source as a benchmark"),
    ("timeit-main", C(N("timeit", "main"), ["-n1", "-r1", SOURCE]), "pickle", "the same as a command"),
    (
        "code-runsource",
        C(N("code", "InteractiveInterpreter.runsource"), C(N("code", "InteractiveInterpreter")), SOURCE),
        "pickle",
        "picklescan GHSA-cj3c-v495-4xqh",
    ),
    ("code-interact", C(N("code", "interact")), "", "a prompt"),
    ("idlelib-entity", C(N("idlelib.calltip", "get_entity"), _EVAL_SOURCE), "pickle", "picklescan GHSA-9xph-j2h6-g47v"),
    (
        "idlelib-autocomplete",
        C(N("idlelib.autocomplete", "AutoComplete.get_entity"), {}, _EVAL_SOURCE),
        "pickle",
        "picklescan GHSA-6w4w-5w54-rjvr",
    ),
    (
        "idlelib-settext",
        C(N("idlelib.debugobj", "ObjectTreeItem.SetText"), {}, _EVAL_SOURCE),
        "",
        "picklescan GHSA-3vg9-h568-4w9m",
    ),
    ("idlelib-run", C(N("idlelib.run", "Executive.runcode"), {}, SOURCE), "", "picklescan GHSA-m869-42cg-3xwr"),
    (
        "idlelib-pyshell",
        C(N("idlelib.pyshell", "ModifiedInterpreter.runcommand"), {}, SOURCE),
        "",
        "picklescan GHSA-j343-8v2j-ff7w",
    ),
    (
        "lib2to3-grammar",
        C(N("lib2to3.pgen2.grammar", "Grammar.loads"), C(N("types", "SimpleNamespace")), _INNER),
        "pickle",
        "picklescan GHSA-f54q-57x4-jg88: a pickle in a pickle",
    ),
    (
        "lib2to3-label",
        C(N("lib2to3.pgen2.pgen", "ParserGenerator.make_label"), None, C(N("types", "SimpleNamespace")), f'""+{_EVAL_SOURCE}'),
        "",
        "picklescan GHSA-p9w7-82w4-7q8m",
    ),
    (
        "types-function",
        C(C(N("types", "FunctionType"), C(N("marshal", "loads"), _CODE), {"__builtins__": N("builtins", "__dict__")})),
        "pickle",
        "fickling GHSA-565g-hwwr-4pp3",
    ),
    ("marshal-exec", C(N("builtins", "exec"), C(N("marshal", "loads"), _CODE)), "pickle", "code objects"),
    ("types-codetype", C(N("types", "CodeType"), 0), "", "makes a code object field by field"),
    ("dill-function", C(N("dill._dill", "_create_function"), C(N("dill._dill", "_create_code"), 0)), "", "dill's functions"),
    (
        "cloudpickle",
        C(N("cloudpickle.cloudpickle", "_make_function"), C(N("cloudpickle.cloudpickle", "subimport"), "os")),
        "",
        "cloudpickle's functions",
    ),
    ("ctypes-cdll", C(N("ctypes", "CDLL"), None), "pickle", "a library: its code runs when it is loaded"),
    (
        "ctypes-system",
        C(_attribute(C(N("ctypes", "CDLL"), None), "system"), SHELL.encode()),
        "pickle",
        "fickling GHSA-5hvc-6wx8-mvv4",
    ),
    ("ctypes-string-at", C(N("ctypes", "string_at"), 0), "", "reads memory: a crash"),
    ("ctypeslib", C(N("numpy.ctypeslib", "load_library"), "libc.so.6", "/lib/x86_64-linux-gnu"), "", "a library"),
    ("importlib-import", C(_attribute(_module("os"), "system"), SHELL), "pickle", "picklescan #66"),
    ("importlib-reload", C(N("importlib", "reload"), _module("this")), "", "runs a module again"),
    ("importlib-loader", C(N("importlib.machinery", "SourceFileLoader"), "x", "nothing.py"), "", "a file of Python"),
    ("imp-load-source", C(N("imp", "load_source"), "x", "nothing.py"), "", "a file of Python"),
    (
        "pkgutil-resolve",
        C(C(N("pkgutil", "resolve_name"), "os:system"), SHELL),
        "pickle",
        "picklescan GHSA-vvpj-8cmc-gx39: any name of any module",
    ),
    ("pydoc-locate", C(C(N("pydoc", "locate"), "os.system"), SHELL), "pickle", "the same by pydoc"),
    ("pydoc-safeimport", C(N("pydoc", "safeimport"), "this"), "", "imports a module"),
    ("logging-resolve", C(C(N("logging.config", "_resolve"), "os.system"), SHELL), "pickle", "the same by logging"),
    (
        "logging-dict",
        C(N("logging.config", "dictConfig"), {"version": 1, "formatters": {"f": {"()": "os.system", "command": SHELL}}}),
        "pickle",
        "a factory that a configuration names",
    ),
    ("logging-file", C(N("logging", "FileHandler"), MARK), "pickle", "CVE-2026-56304: makes a file"),
    (
        "unittest-load",
        C(N("unittest.loader", "TestLoader.loadTestsFromName"), C(N("unittest.loader", "TestLoader")), "this"),
        "",
        "imports what it is told",
    ),
    ("zipimport", C(N("zipimport", "zipimporter"), "nothing.zip"), "", "modules out of a zip"),
    ("site-addpackage", C(N("site", "addpackage"), ".", "nothing.pth", None), "", "lines of a .pth file"),
    ("sysconfig", C(N("sysconfig", "_init_posix"), {}), "", "imports generated data"),
    ("ast-literal", C(N("ast", "parse"), "1"), "", "no harm yet: a function of the standard library all the same"),
    (
        "typing-forward",
        C(N("typing", "_eval_type"), C(N("typing", "ForwardRef"), _EVAL_SOURCE), {}, {}),
        "pickle",
        "an annotation is an expression",
    ),
    ("dataclass-make", C(N("dataclasses", "_create_fn"), "f", [], [SOURCE]), "", "builds source and runs it"),
    ("namedtuple", C(N("collections", "namedtuple"), "a", "b"), "", "builds source and runs it"),
    ("gettext", C(N("gettext", "c2py"), "n"), "", "builds source and runs it"),
    ("atexit", C(N("atexit", "register"), N("os", "system"), SHELL), "", "runs when the process ends"),
    (
        "threading",
        C(_method("start"), C(N("threading", "Thread"), None, N("os", "system"), None, (SHELL,))),
        "pickle",
        "in another thread",
    ),
    (
        "concurrent",
        C(_method("submit", N("os", "system"), SHELL), C(N("concurrent.futures.thread", "ThreadPoolExecutor"))),
        "pickle",
        "in a pool",
    ),
    (
        "future-callback",
        C(_method("add_done_callback", N("os", "system")), C(N("concurrent.futures._base", "Future"))),
        "",
        "when a result arrives",
    ),
    ("signal-handler", C(N("signal", "signal"), 10, N("builtins", "exit")), "", "plants a handler"),
    ("sys-settrace", C(N("sys", "setprofile"), None), "", "runs at every call from here on"),
    ("sys-exit", C(N("sys", "exit"), 0), "", "ends the process"),
    ("os-exit", C(N("os", "_exit"), 0), "", "ends the process at once"),
    ("faulthandler", C(N("faulthandler", "_sigsegv")), "", "crashes the process"),
    # what calls what it is given
    ("attrgetter", C(C(N("operator", "attrgetter"), "system"), C(_IMPORT, "os")), "", "gives a function"),
    (
        "attrgetter-call",
        C(C(C(N("operator", "attrgetter"), "system"), C(_IMPORT, "os")), SHELL),
        "pickle",
        "picklescan GHSA-m273-6v24-x4m4",
    ),
    ("methodcaller", C(_method("system", SHELL), C(_IMPORT, "os")), "pickle", "picklescan GHSA-955r-x9j8-7rhh"),
    ("c-methodcaller", C(C(N("_operator", "methodcaller"), "system", SHELL), C(_IMPORT, "os")), "pickle", "the same in C"),
    ("operator-call", C(N("operator", "call"), N("os", "system"), SHELL), "pickle", "calls its first argument (3.11)"),
    (
        "itemgetter",
        C(C(C(N("operator", "itemgetter"), "eval"), N("builtins", "__dict__")), _EVAL_SOURCE),
        "pickle",
        "a function out of a dictionary",
    ),
    ("partial", C(_partial(N("os", "system"), SHELL)), "pickle", "called later"),
    ("functools-reduce", C(N("functools", "reduce"), N("os", "system"), [SHELL]), "", "calls with two"),
    ("py2-reduce", C(N("__builtin__", "reduce"), N("builtins", "exec"), [SOURCE, {}]), "pickle", "Python 2's reduce"),
    (
        "map",
        C(N("builtins", "list"), C(N("builtins", "map"), N("os", "system"), [SHELL])),
        "pickle",
        "called when it is listed",
    ),
    (
        "py2-imap",
        C(N("builtins", "tuple"), C(N("itertools", "imap"), N("os", "system"), [SHELL])),
        "pickle",
        "the same by Python 2's name",
    ),
    (
        "filter",
        C(N("builtins", "list"), C(N("builtins", "filter"), N("os", "system"), [SHELL])),
        "pickle",
        "called when it is listed",
    ),
    (
        "starmap",
        C(N("collections", "deque"), C(N("itertools", "starmap"), N("os", "system"), [(SHELL,)])),
        "pickle",
        "called by a harmless deque",
    ),
    (
        "accumulate",
        C(N("builtins", "list"), C(N("itertools", "accumulate"), [SOURCE, {}], N("builtins", "exec"))),
        "pickle",
        "called by a harmless list",
    ),
    (
        "iter-sentinel",
        C(N("builtins", "next"), C(N("builtins", "iter"), _partial(N("os", "system"), SHELL), 1)),
        "pickle",
        "called until it gives one",
    ),
    (
        "defaultdict",
        C(N("operator", "getitem"), C(N("collections", "defaultdict"), _partial(N("os", "system"), SHELL)), "k"),
        "pickle",
        "called for a missing key",
    ),
    (
        "chainmap",
        C(
            N("operator", "getitem"),
            C(N("collections", "ChainMap"), C(N("collections", "defaultdict"), _partial(N("os", "system"), SHELL))),
            "k",
        ),
        "pickle",
        "modelaudit #1063",
    ),
    (
        "mapping-proxy",
        C(
            N("operator", "getitem"),
            C(N("types", "MappingProxyType"), C(N("collections", "defaultdict"), _partial(N("os", "system"), SHELL))),
            "k",
        ),
        "pickle",
        "modelaudit #1063",
    ),
    (
        "template",
        C(
            _method("substitute", C(N("collections", "defaultdict"), _partial(N("os", "system"), SHELL))),
            C(N("string", "Template"), "$k"),
        ),
        "pickle",
        "modelaudit #1061: a template asks its mapping",
    ),
    ("re-sub", C(N("re", "sub"), "x", _partial(N("os", "system"), SHELL), "y"), "", "called for a match"),
    (
        "weakref",
        C(N("weakref", "finalize"), N("collections", "OrderedDict"), N("os", "system"), SHELL),
        "",
        "called when something goes",
    ),
    ("exit-stack", C(_method("callback", N("os", "system"), SHELL), C(N("contextlib", "ExitStack"))), "", "called on closing"),
    (
        "property",
        C(_method("__get__", 1, N("builtins", "int")), C(N("builtins", "property"), _partial(N("os", "system"), SHELL))),
        "",
        "called on access",
    ),
    ("types-new-class", C(N("types", "new_class"), "a", (), {}, N("builtins", "print")), "", "calls its last argument"),
    ("type", C(N("builtins", "type"), "a", (), {}), "", "makes a class"),
    ("copyreg-extension", C(N("copyreg", "add_extension"), "os", "system", 240), "", "prepares an extension code"),
    (
        "copyreg-reduce",
        C(N("copyreg", "pickle"), N("builtins", "int"), N("os", "system")),
        "",
        "prepares how things are copied",
    ),
    ("codecs-open", C(N("codecs", "open"), MARK, "w"), "pickle", "makes a file"),
    ("codecs-decode", C(N("codecs", "decode"), b"789c0300000000000001", "zlib"), "", "opens what is packed"),
    ("bytes-decode", C(N("_codecs", "decode"), b"x", "utf-8"), "", "text made at load"),
    # pickles in pickles
    ("pickle-loads", C(N("pickle", "loads"), _INNER), "pickle", "modelscan #267: a pickle in a pickle"),
    ("c-pickle-loads", C(N("_pickle", "loads"), _INNER), "pickle", "the same in C"),
    ("cpickle-loads", C(N("cPickle", "loads"), _INNER), "pickle", "Python 2's name, mapped by the unpickler"),
    (
        "pickle-base64",
        C(N("pickle", "loads"), C(N("base64", "b64decode"), base64.b64encode(_INNER))),
        "pickle",
        "the inner one as base64",
    ),
    ("pickle-hex", C(N("pickle", "loads"), C(N("binascii", "unhexlify"), _INNER.hex())), "pickle", "the inner one as hex"),
    (
        "pickle-zlib",
        C(N("pickle", "loads"), C(N("zlib", "decompress"), zlib.compress(_INNER))),
        "pickle",
        "the inner one compressed",
    ),
    ("shelve", C(N("shelve", "open"), MARK), "pickle", "a data base of pickles"),
    ("joblib-load", C(N("joblib", "load"), "nothing.joblib"), "", "another file"),
    ("dill-loads", C(N("dill", "loads"), _INNER), "", "by another library"),
    ("jsonpickle", C(N("jsonpickle.unpickler", "decode"), '{"py/reduce": []}'), "", "by another library"),
    ("yaml-load", C(N("yaml", "unsafe_load"), f"!!python/object/apply:os.system ['{SHELL}']"), "pickle", "YAML that calls"),
    ("pandas-read", C(N("pandas.io.pickle", "read_pickle"), "nothing.pkl"), "", "another file"),
    ("pandas-csv", C(N("pandas.io.parsers.readers", "read_csv"), _URL), "", "modelscan #338: the network"),
    ("mlflow-run", C(N("mlflow.projects.backend.local", "_run_entry_point"), SHELL, ".", "", ""), "", "modelscan #338"),
)


def cases() -> Iterator[Case]:
    for i, (name, expression, loads, why) in enumerate((*ROWS, *libraries.ROWS)):
        protocol = (2, 4, 0)[i % 3]
        if _has_dots(expression):
            protocol = 4
        elif _is_python_2(expression):
            protocol = 2  # the unpickler maps Python 2's names below protocol 3
        yield Case(f"call-{name}", "pickle", "model.pkl", stream(expression, protocol), "danger", why, loads)


def _names(value: object) -> Iterator[Name]:
    if isinstance(value, Name):
        yield value
    elif isinstance(value, Call):
        yield from _names(value.callee)
        for a in value.args:
            yield from _names(a)
    elif isinstance(value, list | tuple):
        for a in value:
            yield from _names(a)
    elif isinstance(value, dict):
        for a in value.values():
            yield from _names(a)


def _has_dots(value: object) -> bool:
    """Dotted names are resolved from protocol 4 on."""
    return any("." in n.name for n in _names(value))


def _is_python_2(value: object) -> bool:
    old = ("__builtin__", "commands", "cPickle", "urllib2", "popen2", "itertools")
    return any(n.module in old for n in _names(value))
