# SPDX-License-Identifier: Apache-2.0
"""gdb in batch mode: the parked fiber is listed, its stack is shown, and the process goes on."""

import re
import subprocess
import sys

gdb, program, script = sys.argv[1:4]
commands = ["set debuginfod enabled off", "run", "source " + script, "weft fibers",
            "python import re; n = re.search(r'fiber (\\d+) \\[chan receive\\]', "
            "gdb.execute('weft fibers', to_string=True)).group(1); "
            "gdb.execute('weft fiber %s bt' % n)", "signal 0"]
arguments = [gdb, "-batch", "-nx"]
for command in commands:
    arguments += ["-ex", command]
run = subprocess.run(arguments + [program], capture_output=True, text=True, timeout=50)
text = run.stdout + run.stderr
wanted = [r"fiber \d+ \[chan receive\]", r"innermost_wait", r"middle_wait", r"sink=2",
          r"exited normally"]
missing = [w for w in wanted if not re.search(w, text)]
if missing:
    print(text)
    print("missing:", missing)
sys.exit(1 if missing else 0)
