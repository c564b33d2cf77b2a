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
        bl      weft_fiber_main
        brk     #1
        .cfi_endproc
#endif
        .size   weft_fiber_entry, . - weft_fiber_entry
        .section .note.GNU-stack, "", %progbits
#if defined(__aarch64__)
// Landing pads are where they are needed, and nothing here signs a return address: without this
// note (BTI and PAC) a linker would switch BTI off in every program that contains this file.
        .section .note.gnu.property, "a", %note
        .p2align 3
        .word   4, 16, 5                // name, descriptor, NT_GNU_PROPERTY_TYPE_0
        .asciz  "GNU"
        .word   0xc0000000, 4, 3, 0     // GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI | PAC
#endif
