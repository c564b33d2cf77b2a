# SPDX-License-Identifier: Apache-2.0
"""gdb commands for weft programs: source it, then

  weft fibers        every fiber: id, state, why it waits
  weft fiber N bt    the stack of a parked fiber, by the debugger's own unwinder (registers are set
                     for the duration of the command and put back)

Needs no debug information of the library: it reads the table weft_debug_layout.
"""

import gdb

STATES = ["dead", "fresh", "runnable", "running", "waiting", "abandoned"]
REASONS = [
    "", "chan receive", "chan send", "chan receive (nil chan)", "chan send (nil chan)", "select",
    "select (no cases)", "sleep", "IO wait", "sync.Mutex.Lock", "sync.RWMutex.RLock",
    "sync.RWMutex.Lock", "sync.Cond.Wait", "semacquire", "sync.WaitGroup.Wait", "join",
    "context done", "sync.Once.Do", "syscall", "yield"]


def words(name, count):
    address = int(gdb.parse_and_eval("(unsigned long)&%s" % name))
    memory = gdb.selected_inferior().read_memory(address, 8 * count).tobytes()
    return [int.from_bytes(memory[8 * i:8 * i + 8], "little") for i in range(count)]


def read(address, size):
    memory = gdb.selected_inferior().read_memory(address, size).tobytes()
    return int.from_bytes(memory, "little")


class Fiber:
    def __init__(self, address, layout):
        _, _, _, frame, number, state, reason, stack = layout
        self.address = address
        self.id = read(address + number, 8)
        self.state = STATES[read(address + state, 1)]
        self.reason = REASONS[read(address + reason, 1)]
        self.stack = read(address + stack, 8)
        self.sp, self.fp, self.pc, self.base = (read(address + frame + 8 * i, 8) for i in range(4))


def fibers():
    layout = words("weft_debug_layout", 8)
    if layout[0] != 1:
        raise gdb.GdbError("weft_debug_layout: version %d is not known here" % layout[0])
    slabs = words("weft_debug_slabs", 1)[0]
    carved = words("weft_debug_carved", 1)[0]
    for i in range(carved):
        slab = read(slabs + 8 * (i // layout[2]), 8)
        fiber = Fiber(slab + (i % layout[2]) * layout[1], layout)
        if fiber.state != "dead":
            yield fiber


REGISTERS = {
    "i386:x86-64": {"sp": "rsp", "fp": "rbp", "pc": "rip", "base": "rbx"},
    "aarch64": {"sp": "sp", "fp": "x29", "pc": "pc", "base": "x19"},
}


def print_stack(fiber):
    if fiber.state != "waiting" and not (fiber.state == "runnable" and fiber.stack):
        raise gdb.GdbError("fiber %d is %s, its stack is not parked" % (fiber.id, fiber.state))
    gdb.newest_frame().select()
    names = REGISTERS[gdb.selected_frame().architecture().name()]
    saved = {name: int(gdb.parse_and_eval("(unsigned long)$%s" % name))
             for name in names.values()}
    try:
        for field, name in names.items():
            gdb.execute("set $%s = %d" % (name, getattr(fiber, field)))
        gdb.execute("bt")
    finally:
        for name, value in saved.items():
            gdb.execute("set $%s = %d" % (name, value))


class Weft(gdb.Command):
    """weft fibers | weft fiber N bt"""

    def __init__(self):
        super().__init__("weft", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words_ = argument.split()
        if words_ == ["fibers"]:
            for f in fibers():
                print("fiber %d [%s]" % (f.id, f.reason if f.state == "waiting" else f.state))
        elif len(words_) == 3 and words_[0] == "fiber" and words_[2] == "bt":
            for f in fibers():
                if f.id == int(words_[1]):
                    print_stack(f)
                    return
            raise gdb.GdbError("no fiber %s" % words_[1])
        else:
            raise gdb.GdbError("usage: weft fibers | weft fiber N bt")


Weft()
