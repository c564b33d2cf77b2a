// SPDX-License-Identifier: Apache-2.0
// The switch between two stacks: one asm statement, always inlined into the frame that waits.
//
// It pushes nothing. {sp, frame pointer, resume address, base pointer} go into the leaving
// fiber's frame record, the same four words of the next one are loaded, and we jump. Every other
// register is named as clobbered, so the compiler has spilled whatever it still needs into the
// surrounding function's frame, and that function's unwind tables are true at the resume label.
// No `ret` is executed, so the return stack buffer stays in step.
//
// Contract at the resume label: rdi/x0 = the record that was left, rsi/x1 = the record resumed.
// Not saved: the floating-point control words (mxcsr, x87 cw, FPCR) belong to the thread.
#pragma once

#include <weft/detail/config.hpp>

namespace weft::inline v0::detail {

struct switch_frame {
  void* sp = nullptr;
  void* fp = nullptr;
  void* pc = nullptr;
  void* base = nullptr;  // rbx / x19: compilers use it to address over-aligned frames
};
static_assert(sizeof(switch_frame) == 32, "the asm below addresses the four words by offset");

#if defined(__x86_64__)

#if defined(__AVX512F__)
#define WEFT_SWITCH_CLOBBER_AVX512                                                              \
  , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",   \
      "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", \
      "k7"
#else
#define WEFT_SWITCH_CLOBBER_AVX512
#endif

/// Leaves `from`, resumes `to`; returns (later, perhaps on another thread) the record that was
/// left in our favour.
WEFT_INLINE switch_frame* switch_stack(switch_frame* from, switch_frame* to) noexcept {
  asm volatile(
      "leaq 1f(%%rip), %%rax\n\t"
      "movq %%rsp, 0(%%rdi)\n\t"
      "movq %%rbp, 8(%%rdi)\n\t"
      "movq %%rax, 16(%%rdi)\n\t"
      "movq %%rbx, 24(%%rdi)\n\t"
      "movq 0(%%rsi), %%rsp\n\t"
      "movq 8(%%rsi), %%rbp\n\t"
      "movq 24(%%rsi), %%rbx\n\t"
      "jmpq *16(%%rsi)\n\t"
      ".p2align 4\n"
      "1:\n\t"
      "endbr64"
      : "+D"(from), "+S"(to)
      :
      : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",
        "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)",
        "st(5)", "st(6)", "st(7)" WEFT_SWITCH_CLOBBER_AVX512);
  return from;
}

#else  // aarch64

#if defined(__ARM_FEATURE_SVE)
#define WEFT_SWITCH_CLOBBER_SVE                                                                    \
  , "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14", \
      "p15"
#else
#define WEFT_SWITCH_CLOBBER_SVE
#endif

// x18 is one more temporary on Linux, and compilers use it as such.
WEFT_INLINE switch_frame* switch_stack(switch_frame* from, switch_frame* to) noexcept {
  register switch_frame* f asm("x0") = from;
  register switch_frame* t asm("x1") = to;
  asm volatile(
      "adr x9, 1f\n\t"
      "mov x10, sp\n\t"
      "stp x10, x29, [x0]\n\t"
      "stp x9, x19, [x0, #16]\n\t"
      "ldp x10, x29, [x1]\n\t"
      "ldp x9, x19, [x1, #16]\n\t"
      "mov sp, x10\n\t"
      "br x9\n\t"
      "1:\n\t"
      "hint #36"  // BTI j
      : "+r"(f), "+r"(t)
      :
      : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
        "x16", "x17", "x18", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30",
        "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
        "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
        "v25", "v26", "v27", "v28", "v29", "v30", "v31" WEFT_SWITCH_CLOBBER_SVE);
  return f;
}

#endif

}  // namespace weft::inline v0::detail
