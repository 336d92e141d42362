// EL2's exception vectors, and the way into and out of a guest.
//
// While a guest runs, SP_EL2 points to the core's Context; below it lies the fast stack, on which the short path runs.
// The short path saves what the procedure call standard lets a callee change (x0-x18, x30); the rest is saved only
// when the exit goes on to the core's loop. Two calls that guests make often need no function at all. Offsets come from context.rs.

// x0 to x3, which a call answers in, and the rest.
.macro save_first
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
.endm

.macro save_volatile_rest
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    str     x18, [sp, #16 * 9]
    str     x30, [sp, #16 * 15]
.endm

.macro save_volatile
    save_first
    save_volatile_rest
.endm

.macro restore_volatile
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x4, x5, [sp, #16 * 2]
    ldp     x6, x7, [sp, #16 * 3]
    ldp     x8, x9, [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x16, x17, [sp, #16 * 8]
    ldr     x18, [sp, #16 * 9]
    ldr     x30, [sp, #16 * 15]
    ldp     x0, x1, [sp, #16 * 0]
.endm

// An interrupt of a guest: the short path first; it answers 0 when nothing is left to do.
.macro interrupt_from_guest
    .balign 0x80
    save_volatile
    mov     x0, sp
    bl      {short_irq}
    cbz     x0, resume
    mov     x0, #{cause_irq}
    b       leave
.endm

// A synchronous exception of a guest: calls for a version are answered at once; then the short path.
.macro synchronous_from_guest
    .balign 0x80
    save_first
    mrs     x1, esr_el2
    mov     w2, #{esr_hvc}
    cmp     w1, w2
    b.eq    version_call
    b       synchronous
.endm

// An exception of a guest without a short path.
.macro from_guest_slow cause
    .balign 0x80
    save_volatile
    mov     x0, #\cause
    b       leave
.endm

// An exception of EL2 itself: nothing is left but to say so. The stack may be what failed.
.macro from_el2 cause
    .balign 0x80
    msr     sp_el0, x0
    mov     x0, #\cause
    b       fault
.endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global vectors
vectors:
    from_el2 0                      // current EL, SP_EL0
    from_el2 1
    from_el2 2
    from_el2 3
    from_el2 0                      // current EL, SP_ELx
    from_el2 1
    from_el2 2
    from_el2 3
    synchronous_from_guest          // lower EL, AArch64
    interrupt_from_guest
    from_guest_slow {cause_fiq}
    from_guest_slow {cause_serror}
    synchronous_from_guest          // lower EL, AArch32
    interrupt_from_guest
    from_guest_slow {cause_fiq}
    from_guest_slow {cause_serror}

// HVC #0 in AArch64. Answers PSCI_VERSION and SMCCC_VERSION; every other call goes the usual way. In: x0 = the guest's;
// x0 to x3 are saved. The answer is four registers, of which a version fills one.
version_call:
    mov     w2, #{psci_version}
    cmp     w0, w2
    b.ne    1f
    ldr     w0, ={psci_version_value}
    b       2f
1:  mov     w2, #{smccc_version}
    cmp     w0, w2
    b.ne    synchronous
    ldr     w0, ={smccc_version_value}
2:  ldr     x1, [sp, #{version_calls}]
    add     x1, x1, #1
    str     x1, [sp, #{version_calls}]
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    eret
    .ltorg

// x0 to x3 are saved.
synchronous:
    save_volatile_rest
    mov     x0, sp
    bl      {short_sync}
    cbz     x0, resume
    mov     x0, #{cause_sync}
    b       leave

// Back into the guest after the short path.
resume:
    restore_volatile
    eret

// Leaves the guest for the core's loop: `enter` returns. In: x0 = cause.
leave:
    stp     x19, x20, [sp, #16 * 9 + 8]
    stp     x21, x22, [sp, #16 * 10 + 8]
    stp     x23, x24, [sp, #16 * 11 + 8]
    stp     x25, x26, [sp, #16 * 12 + 8]
    stp     x27, x28, [sp, #16 * 13 + 8]
    str     x29, [sp, #16 * 14 + 8]
    mrs     x1, elr_el2
    mrs     x2, spsr_el2
    stp     x1, x2, [sp, #{pc}]
    ldr     x9, [sp, #{host_stack}]
    mov     sp, x9
    ldp     x19, x20, [sp, #16 * 0]
    ldp     x21, x22, [sp, #16 * 1]
    ldp     x23, x24, [sp, #16 * 2]
    ldp     x25, x26, [sp, #16 * 3]
    ldp     x27, x28, [sp, #16 * 4]
    ldp     x29, x30, [sp, #16 * 5]
    add     sp, sp, #16 * 6
    ret

// Runs the guest until it exits to the loop. In: x0 = the core's Context. Out: x0 = cause. A function call by the
// procedure call standard: keeps x19-x30 and SP.
    .global enter_guest
enter_guest:
    sub     sp, sp, #16 * 6
    stp     x19, x20, [sp, #16 * 0]
    stp     x21, x22, [sp, #16 * 1]
    stp     x23, x24, [sp, #16 * 2]
    stp     x25, x26, [sp, #16 * 3]
    stp     x27, x28, [sp, #16 * 4]
    stp     x29, x30, [sp, #16 * 5]
    mov     x9, sp
    str     x9, [x0, #{host_stack}]
    mov     sp, x0
    ldp     x1, x2, [sp, #{pc}]
    msr     elr_el2, x1
    msr     spsr_el2, x2
    ldp     x19, x20, [sp, #16 * 9 + 8]
    ldp     x21, x22, [sp, #16 * 10 + 8]
    ldp     x23, x24, [sp, #16 * 11 + 8]
    ldp     x25, x26, [sp, #16 * 12 + 8]
    ldp     x27, x28, [sp, #16 * 13 + 8]
    ldr     x29, [sp, #16 * 14 + 8]
    b       resume

// Reports an exception of EL2. In: x0 = which, SP_EL0 = x0 at the exception; any SP. Moves to the core's fault stack.
fault:
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{fault_stack}]
    sub     x0, x0, #16 * 17
    stp     x2, x3, [x0, #16 * 1]
    stp     x4, x5, [x0, #16 * 2]
    stp     x6, x7, [x0, #16 * 3]
    stp     x8, x9, [x0, #16 * 4]
    stp     x10, x11, [x0, #16 * 5]
    stp     x12, x13, [x0, #16 * 6]
    stp     x14, x15, [x0, #16 * 7]
    stp     x16, x17, [x0, #16 * 8]
    stp     x18, x19, [x0, #16 * 9]
    stp     x20, x21, [x0, #16 * 10]
    stp     x22, x23, [x0, #16 * 11]
    stp     x24, x25, [x0, #16 * 12]
    stp     x26, x27, [x0, #16 * 13]
    stp     x28, x29, [x0, #16 * 14]
    mrs     x2, sp_el0
    stp     x2, x1, [x0, #16 * 0]
    mov     x3, sp
    stp     x30, x3, [x0, #16 * 15]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x0, #16 * 16]
    mov     sp, x0
    bl      {el2_fault}
    b       .
