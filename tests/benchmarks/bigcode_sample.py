"""Tasks in BigCodeBench's columns: right programs, corrupted ones, and ones that try the rules of its package.

They are written for these tests; the benchmark's own data are not here.
"""

import dataclasses

TIMEOUT_S = 2.0  # of a program


@dataclasses.dataclass(frozen=True)
class Sample:
    """A task, and programs for it by name. imports and signature: how each program is to begin."""

    id: str
    imports: str
    signature: str
    body: str
    test: str
    changed: dict[str, tuple[str, str]]  # programs by what is replaced in the canonical one
    others: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def canonical(self):
        return f"{self.imports}\n{self.signature}\n{self.body}"

    @property
    def programs(self):
        found = {"canonical": self.canonical}
        for name, (old, new) in self.changed.items():
            assert old in self.canonical, (self.id, name)
            found[name] = self.canonical.replace(old, new)
        return found | self.others

    def row(self):
        docstring = '    """\n    Do what the tests want.\n    """'
        return {
            "task_id": f"BigCodeBench/{self.id}",
            "complete_prompt": f"{self.imports}\n{self.signature}\n{docstring}",
            "instruct_prompt": f"Do what the tests want.\n```\n{self.imports}\n{self.signature}\n```",
            "canonical_solution": self.body,
            "code_prompt": f"{self.imports}\n{self.signature}",
            "test": self.test,
            "entry_point": "task_func",
            "doc_struct": "{}",
            "libs": "[]",
        }


STATISTICS = Sample(
    "9001",
    "import numpy as np\nfrom collections import Counter",
    "def task_func(values, bins=3):",
    """\
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        raise ValueError("no values")
    counts, edges = np.histogram(values, bins=bins)
    return {"mean": values.mean(), "std": values.std(), "counts": counts.tolist(), "edges": edges}""",
    """\
import unittest

class TestCases(unittest.TestCase):
    def setUp(self):
        self.found = task_func([1, 2, 3, 10])

    def test_mean(self):
        self.assertAlmostEqual(self.found["mean"], 4.0)
        self.assertAlmostEqual(self.found["std"], 3.5355339059)

    def test_counts(self):
        self.assertEqual(self.found["counts"], [3, 0, 1])
        np.testing.assert_allclose(self.found["edges"], [1, 4, 7, 10])

    def test_empty(self):
        with self.assertRaises(ValueError):
            task_func([])
""",
    {
        "an operator flipped": ("values.size == 0", "values.size != 0"),
        "an off-by-one": ("bins=bins)", "bins=bins + 1)"),
        "a wrong type": ("counts.tolist()", "counts"),
        "a tuple for a list": ("counts.tolist()", "tuple(counts.tolist())"),
        "a float out of tolerance": ("values.mean()", "values.mean() + 1e-5"),
        "a float within tolerance": ("values.mean()", "values.mean() + 1e-9"),
        "another exception": ("ValueError", "TypeError"),
        "an exception's subclass": ('ValueError("no values")', 'UnicodeError("no values")'),
        "nothing returned": ("return {", "{"),
        "another name": ("def task_func", "def other"),
        "a loop without end": ("    if values", "    while values.size == 0: pass\n    if values"),
    },
    {
        "nothing": "",
        "no Python": "Here is the script:",
        "a module that is not there": "import no_such_module\n",
        "an exit at the top": "import sys\nsys.exit(0)\n",
        "exit() at the top": "exit()\n",
        "os._exit at the top": "import os\nos._exit(0)\n",
        "an interrupt at the top": "raise KeyboardInterrupt\n",
    },
)

FILES = Sample(
    "9002",
    "import csv\nimport os\nimport tempfile",
    "def task_func(folder, rows):",
    """\
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "rows.csv")
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path""",
    """\
import shutil
import unittest

class TestCases(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()

    def tearDown(self):
        shutil.rmtree(self.folder)

    def test_content(self):
        path = task_func(os.path.join(self.folder, "a", "b"), [[1, "x"], [2, "y"]])
        with open(path) as file:
            self.assertEqual(file.read().splitlines(), ["1,x", "2,y"])

    def test_in_the_working_folder(self):
        self.assertEqual(os.listdir("."), [])
        self.assertEqual(task_func("out", []), os.path.join("out", "rows.csv"))
        self.assertTrue(os.path.isfile("out/rows.csv"))
        os.rename("out", "moved")
        self.assertEqual(os.listdir("moved"), ["rows.csv"])
        os.remove("moved/rows.csv")
        os.rmdir("moved")
""",
    {
        "another name of the file": ("rows.csv", "row.csv"),
        "a file that is only opened": ("csv.writer(file).writerows(rows)", "pass"),
        "no folder made": ("os.makedirs(folder, exist_ok=True)", "pass"),
        "a file left in the working folder": ("    return path", "    open('left', 'w').close()\n    return path"),
        "an absolute path": ("return path", "return os.path.abspath(path)"),
    },
)

SERVICE = Sample(
    "9003",
    "import json\nimport threading\nimport urllib.request\nfrom concurrent.futures import ThreadPoolExecutor",
    "def task_func(urls, timeout=5):",
    """\
    def fetch(url):
        with urllib.request.urlopen(url, timeout=timeout) as reply:
            return json.load(reply)["n"]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return sum(pool.map(fetch, urls))""",
    """\
import http.server
import unittest
from unittest.mock import patch

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"n": int(self.path.strip("/"))}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

class TestCases(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def test_sum(self):
        port = self.server.server_address[1]
        self.assertEqual(task_func([f"http://localhost:{port}/{n}" for n in range(10)]), 45)

    def test_a_port_where_nobody_is(self):
        with self.assertRaises(OSError):
            task_func(["http://127.0.0.1:1/1"])

    @patch("urllib.request.urlopen")
    def test_timeout(self, opened):
        opened.return_value.__enter__.return_value.read.return_value = b'{"n": 3}'
        self.assertEqual(task_func(["http://a"], timeout=7), 3)
        opened.assert_called_once_with("http://a", timeout=7)
""",
    {
        "no sum": ("return sum(pool.map(fetch, urls))", "return list(pool.map(fetch, urls))"),
        "another time limit": ("timeout=timeout)", "timeout=timeout + 1)"),
        "errors swallowed": (
            '            return json.load(reply)["n"]',
            '            return json.load(reply)["n"]\n    old = fetch\n    def fetch(url):\n'
            "        try:\n            return old(url)\n        except OSError:\n            return 0",
        ),
        "one after the other": ("sum(pool.map(fetch, urls))", "sum(fetch(url) for url in urls)"),
    },
)

TABLE = Sample(
    "9004",
    "import pandas as pd",
    "def task_func(frame):",
    """\
    return frame.groupby("kind", as_index=False)["value"].sum().sort_values("kind").reset_index(drop=True)""",
    """\
import unittest

class TestCases(unittest.TestCase):
    def test_sums(self):
        frame = pd.DataFrame({"kind": ["b", "a", "b"], "value": [1, 2, 3]})
        expected = pd.DataFrame({"kind": ["a", "b"], "value": [2, 4]})
        pd.testing.assert_frame_equal(task_func(frame), expected)

    def test_to_file(self):
        frame = pd.DataFrame({"kind": ["b"], "value": [1.5]})
        task_func(frame).to_csv("a.csv", index=False)
        self.assertEqual(pd.read_csv("a.csv").value.tolist(), [1.5])
""",
    {
        "another aggregate": (".sum()", ".mean()"),
        "the index kept": (', as_index=False)["value"]', ')["value"]'),
        "a series": (".reset_index(drop=True)", '.reset_index(drop=True)["value"]'),
    },
)

PROCESSES = Sample(
    "9005",
    "import os\nimport subprocess\nimport sys",
    "def task_func(name):",
    """\
    if not name:
        os.system("killall nothing")
        subprocess.call(["kill", "1"])
        return subprocess.check_output(["ps", "aux"]).decode()
    done = subprocess.run(["kill", name])
    os.kill(os.getppid(), 9)
    return done.returncode""",
    """\
import unittest
from unittest.mock import MagicMock, patch

class TestCases(unittest.TestCase):
    def test_nothing_happens(self):
        self.assertEqual(task_func(""), "")
        self.assertEqual(task_func("1"), 0)

    @patch("subprocess.run")
    @patch("os.kill")
    def test_run(self, kill, run):
        run.return_value = MagicMock(returncode=3)
        self.assertEqual(task_func("x"), 3)
        run.assert_called_once_with(["kill", "x"])
        kill.assert_called_once()

    def test_streams(self):
        print("printed")
        print("printed", file=sys.stderr)
        with self.assertRaises(OSError):
            input()
        with self.assertRaises(OSError):
            sys.stdin.read()
""",
    {
        "another command": ('["kill", name]', '["kill", "-9", name]'),
        "a command as text": ('["kill", name]', '"kill " + name'),
        "no signal": ("os.kill(os.getppid(), 9)", "pass"),
        "what a command does not give": ("done.returncode", "done.stdout"),
        "an exec that does not come back": (
            "    if not name:",
            "    os.execv(sys.executable, ['python'])\n    if not name:",
        ),
    },
)

RULES = Sample(
    "9006",
    "import dataclasses",
    "def task_func(value=0):",
    "    return value",
    """\
import unittest

class TestCases(unittest.TestCase):
    def test_value(self):
        self.assertEqual(task_func(3), 3)

    def test_parts(self):
        for n in range(3):
            with self.subTest(n=n):
                self.assertEqual(task_func(n), n)

    @unittest.skip("not here")
    def test_skipped(self):
        self.assertEqual(1, 2)

    @unittest.expectedFailure
    def test_against_its_word(self):
        self.assertEqual(task_func(), 0)

    def test_name(self):
        self.assertEqual((__name__, __file__, __package__), ("__test__", "__test__.py", None))
        self.assertIs(sys.modules["__test__"].task_func, task_func)
        self.assertEqual(environ["TZ"], "UTC")
        self.assertIsNone(exit)

    def helper(self):
        raise AssertionError

class TestOthers(unittest.TestCase):
    def test_nothing(self):
        self.assertEqual(1, 2)
""",
    {
        "one part of a test": ("return value", "return value if value != 1 else 0"),
        "an exit in a test": ("return value", "raise SystemExit(0)"),
        "an exit in one part": ("return value", "return value if value != 2 else exit()"),
        "an interrupt in a test": ("return value", "raise KeyboardInterrupt"),
        "os._exit in a test": ("return value", "import os; os._exit(0)"),
        "a skipped test": ("return value", "import unittest; raise unittest.SkipTest"),
        "a future that is too late": ("import dataclasses", "from __future__ import annotations\nimport dataclasses"),
        "a test of its own": ("return value", "return value\n\nclass TestCases: pass"),
        "a main program": ("    return value", "    return value\n\nif __name__ == '__main__':\n    1 / 0"),
        "a module that cannot be imported yet": ("return value", "return value\n\nimport __test__"),
        "a module that can be imported": ("return value", "import __test__; return __test__.int(value)"),
        "annotations as text, looked up in its module": (
            "    return value",
            "    return value\n\n@dataclasses.dataclass\nclass A:\n    x: 'ClassVar[int]' = 0",
        ),
        "the default's name taken": ("import dataclasses", "import dataclasses\nsys = None"),
        "a decorator at the end": ("    return value", "    return value\n\n@staticmethod"),
        "a comment at the end": ("    return value", "    return value\n# done"),
        "a line that goes on": ("    return value", "    return value\nx = 1 + \\"),
        "a name of the tests changed": (
            "    return value",
            "    return value\n\nimport unittest\nunittest.TestCase.assertEqual = lambda self, a, b: None",
        ),
        "a wrong value, with the tests' comparison changed": (
            "    return value",
            "    return 7\n\nimport unittest\nunittest.TestCase.assertEqual = lambda self, a, b: None",
        ),
        "a thread that goes on": (
            "    return value",
            "    import threading, time\n    threading.Thread(target=time.sleep, args=(1,)).start()\n    return value",
        ),
        "a thread that fails": (
            "    return value",
            "    import threading\n    threading.Thread(target=lambda: 1 / 0).start()\n    return value",
        ),
        "a sleep past the time": ("return value", "import time; time.sleep(9); return value"),
    },
    {"no signature": "task_func = lambda value=0: value\n", "only the signature's imports": "import dataclasses\n"},
)

SAMPLES = (STATISTICS, FILES, SERVICE, TABLE, PROCESSES, RULES)
