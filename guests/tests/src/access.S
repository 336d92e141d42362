// Single loads and stores, callable at EL1 and, by the trampoline, at EL0. None uses the stack.

.section .text.access, "ax"

// In: x0 = address, x1 and x2 = data or offset. Out: x0-x2 as the instruction leaves them.
.macro access name, instruction:vararg
.global \name
\name:
        \instruction
        ret
.endm

access access_ldr, ldr w1, [x0]
access access_ldr_zero, ldr wzr, [x0], #4
access access_ldp, ldp w1, w2, [x0]
access access_ldpsw, ldpsw x1, x2, [x0]
access access_ldr_post, ldr w1, [x0], #4
access access_ldr_pre, ldr w1, [x0, #4]!
access access_ldr_pre_back, ldr w1, [x0, #-12]!
access access_ldp_post, ldp w1, w2, [x0], #8
access access_ldp_pre, ldp w1, w2, [x0, #8]!
access access_ldp_pre_back, ldp w1, w2, [x0, #-8]!
access access_ldr_register, ldr w1, [x0, x2, lsl #2]
access access_ldr_register_word, ldr w1, [x0, w2, sxtw #2]
access access_ldur, ldur w1, [x0, #-4]
access access_ldar, ldar w1, [x0]
access access_ldrsb_x, ldrsb x1, [x0]
access access_ldrsb_w, ldrsb w1, [x0]
access access_ldrsb_post, ldrsb x1, [x0], #1
access access_ldrsb_w_post, ldrsb w1, [x0], #1
access access_ldrb_post, ldrb w1, [x0], #1
access access_ldrsh_post, ldrsh x1, [x0], #2
access access_ldrsh_w, ldrsh w1, [x0]
access access_ldrh_pre, ldrh w1, [x0, #2]!
access access_ldrsw, ldrsw x1, [x0]
access access_ldrsw_post, ldrsw x1, [x0], #4
access access_str, str w1, [x0]
access access_str_post, str w1, [x0], #4
access access_str_pre, str w1, [x0, #4]!
access access_str_zero, str wzr, [x0], #4
access access_stp, stp w1, w2, [x0]
access access_stp_post, stp w1, w2, [x0], #8
access access_stp_pre, stp w1, w2, [x0, #-8]!
access access_stp_zero, stp wzr, wzr, [x0]
access access_strh_post, strh w1, [x0], #2
access access_strb_pre, strb w1, [x0, #1]!
access access_stlr, stlr w1, [x0]
access access_ldxr, ldxr w1, [x0]
access access_stxr, ldxr w1, [x0]; stxr w2, w1, [x0]

.arch_extension fp
.arch_extension simd
access access_ldr_s, ldr s0, [x0]
access access_str_q, str q0, [x0]
access access_ldp_d, ldp d0, d1, [x0]
.arch_extension nosimd
.arch_extension nofp

// Calls x3 at EL0 and ends there. In: as the function called.
.global access_at_el0
access_at_el0:
        blr     x3
        svc     #0
        b       access_at_el0
// A fetch at EL0. In: x0 = address.
.global access_fetch_at_el0
access_fetch_at_el0:
        br      x0
// What EL0 may not do.
.global access_hvc_at_el0
access_hvc_at_el0:
        hvc     #0
.global access_smc_at_el0
access_smc_at_el0:
        smc     #0
// Debug at EL0: a place for a breakpoint, a load for a watchpoint, a BRK.
.global access_brk_at_el0
access_brk_at_el0:
        brk     #0x7e
.global access_break_here_at_el0
access_break_here_at_el0:
        nop
        svc     #0
// The same at EL1.
.global access_break_here
access_break_here:
        nop
        ret
