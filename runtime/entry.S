// SPDX-License-Identifier: Apache-2.0
// Where a fiber begins. switch_stack() jumps here with the record it left in rdi/x0, the fiber's
// own in rsi/x1, and the stack pointer at the top of a fresh stack, 16-byte aligned.
// The return address is declared undefined and the frame pointer is zero: unwinders, profilers and
// debuggers stop here. An exception that gets this far finds no handler, so std::terminate is
// called with the throwing stack still in place.
        .text
        .globl  weft_fiber_entry
        .hidden weft_fiber_entry
        .type   weft_fiber_entry, %function
#if defined(__x86_64__)
        .p2align 4
weft_fiber_entry:
        .cfi_startproc
        .cfi_undefined rip
        endbr64
        xorl    %ebp, %ebp
        call    weft_fiber_main
        ud2
        .cfi_endproc
#elif defined(__aarch64__)
        .p2align 4
weft_fiber_entry:
        .cfi_startproc
        .cfi_undefined x30
        hint    #36
        mov     x29, xzr
        mov     x30, xzr
        bl      weft_fiber_main
        brk     #1
        .cfi_endproc
#endif
        .size   weft_fiber_entry, . - weft_fiber_entry
        .section .note.GNU-stack, "", %progbits
