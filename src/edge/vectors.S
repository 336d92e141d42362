// EL2's exception vectors, and the way into and out of a guest.
//
// While a guest runs, SP_EL2 points to the core's Context; below it lies the fast stack, on which the short path runs.
// The short path saves what the procedure call standard lets a callee change (x0-x18, x30); the rest is saved only
// when the exit goes on to the core's loop. Offsets come from context.rs.

.macro save_volatile
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
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

// An exception of a guest: the short path first; it answers 0 when nothing is left to do.
.macro from_guest short, cause
    .balign 0x80
    save_volatile
    mov     x0, sp
    bl      \short
    cbz     x0, resume
    mov     x0, #\cause
    b       leave
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
    from_guest {short_sync}, {cause_sync}      // lower EL, AArch64
    from_guest {short_irq}, {cause_irq}
    from_guest_slow {cause_fiq}
    from_guest_slow {cause_serror}
    from_guest {short_sync}, {cause_sync}      // lower EL, AArch32
    from_guest {short_irq}, {cause_irq}
    from_guest_slow {cause_fiq}
    from_guest_slow {cause_serror}

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
