// EL2's exception vectors, and the way into and out of a guest.
//
// While a guest runs, SP_EL2 points to the core's Context; below it lies the fast stack, on which the short path runs.
// The short path saves what the procedure call standard lets a callee change (x0-x18, x30; the last two together, apart
// from where the loop has them); the rest is saved only when the exit goes on to the core's loop. The calls that guests
// make often are answered here, out of four registers. Each kind of interrupt controller has a table of its own, which
// names its short path. Offsets come from context.rs.

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
    stp     x18, x30, [sp, #{volatile_pair}]
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
    ldp     x18, x30, [sp, #{volatile_pair}]
    ldp     x0, x1, [sp, #16 * 0]
.endm

// An interrupt of a guest: the short path first; it answers 0 when nothing is left to do.
.macro interrupt_from_guest short
    .balign 0x80
    save_volatile
    ldr     x0, [sp, #{guest}]
    bl      \short
    cbz     x0, resume
    mov     x0, #{cause_irq}
    b       leave
.endm

// The same where the controller is a GICv2: the end of an interrupt that the short path listed comes first, if its end
// is told. (Where the hardware deactivates, the bit is one of the physical INTID's: GICH_EISR0 then says that none ended.)
.macro interrupt_from_guest_v2 short
    .balign 0x80
    save_first
    ldr     x0, [sp, #{guest}]
    ldr     w1, [x0, #{listed}]
    tbnz    w1, #{lr_eoi}, ended_v2
    save_volatile_rest
    bl      \short
    cbz     x0, resume
    mov     x0, #{cause_irq}
    b       leave
.endm

// The rest of a synchronous exception. In: w2 = the syndrome; x0 to x3 are saved.
.macro synchronous_further short
    save_volatile_rest
    mov     x0, sp
    ldr     x1, [sp, #{guest}]
    bl      \short
    cbz     x0, resume
    mov     x0, #{cause_sync}
    b       leave
.endm

// A synchronous exception of a guest in AArch64: some calls are answered at once; then the short path.
.macro synchronous_from_guest name, short
    .balign 0x80
    save_first
    mrs     x2, esr_el2
    mov     w3, #{esr_hvc}
    and     w1, w2, #~{esr_smc_bit}
    cmp     w1, w3
    b.eq    call_\name
further_\name:
    synchronous_further \short
.endm

// The same in AArch32, which makes no such calls.
.macro synchronous_from_a32 short
    .balign 0x80
    save_first
    mrs     x2, esr_el2
    synchronous_further \short
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
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{fault_stack}]
    sub     x0, x0, #16 * 17
    str     x1, [x0, #8]
    mov     x1, #\cause
    b       fault
.endm

// The vectors of EL2 on a board with one kind of interrupt controller.
.macro table name, short_sync, interrupts, short_irq
    .balign 0x800
    .global \name
\name:
    from_el2 0                      // current EL, SP_EL0
    from_el2 1
    from_el2 2
    from_el2 3
    from_el2 0                      // current EL, SP_ELx
    from_el2 1
    from_el2 2
    from_el2 3
    synchronous_from_guest \name, \short_sync  // lower EL, AArch64
    \interrupts \short_irq
    from_guest_slow {cause_fiq}
    from_guest_slow {cause_serror}
    synchronous_from_a32 \short_sync  // lower EL, AArch32
    \interrupts \short_irq
    from_guest_slow {cause_fiq}
    from_guest_slow {cause_serror}
.endm

// HVC #0 or SMC #0 in AArch64: versions, features and the heartbeat; any other call goes on as a function. In: w0 = the
// function, w2 = the syndrome; x0 to x3 are saved. The answer is four registers, of which x0 says it all.
.macro calls name
call_\name:
    tbnz    w2, #{esr_smc_number}, call_smc
    answers answered_hvc
.endm

// The answers, each followed by `answered`, one of the two below. In: w0 = the function.
.macro answers answered
    ldr     w3, ={heartbeat}
    cmp     w0, w3
    b.eq    3f
    tbnz    w0, #{own_service_bit}, 4f
    ldr     w3, ={psci_features}
    cmp     w0, w3
    b.eq    2f
    mov     w3, #{psci_service}
    cmp     w0, w3
    b.eq    1f
    mov     w3, #{smccc_version}
    cmp     w0, w3
    b.ne    call_further
    ldr     w0, ={smccc_version_value}
    \answered {smccc_version_note}
1:  ldr     w0, ={psci_version_value}
    \answered {psci_version_note}

    // Whether PSCI has the function in the guest's w1, of either convention: SUCCESS or NOT_SUPPORTED.
2:  ldr     w0, [sp, #8 * 1]
    mov     w3, #{psci_service}
    and     w2, w0, #~(1 << {convention})
    sub     w2, w2, w3
    cmp     w2, #32
    b.hs    call_further
    ubfx    w3, w0, #{convention}, #1
    ldr     x0, ={psci_lacks}
    orr     w2, w2, w3, lsl #5
    lsl     x0, x0, x2
    asr     x0, x0, #63
    \answered {psci_features_note}

    // HEARTBEAT: a deadline that the core's timer is early enough for already. (One that is off is set to the latest time.)
3:  ldp     x0, x1, [sp, #8 * 1]
    cbnz    x1, call_further
    ldr     x2, [sp, #{beat_limit}]
    sub     x1, x0, #1
    cmp     x1, x2
    b.hs    call_further
    ldp     x2, x3, [sp, #{beat}]
    mrs     x1, cntpct_el0
    madd    x1, x0, x2, x1
    mrs     x2, cnthp_cval_el2
    cmp     x2, x1
    b.hi    call_further
    str     x0, [x3, #{beat_period}]
    stlr    x1, [x3]                // Heartbeat::deadline
    mov     x0, xzr
    \answered {heartbeat_note}

    // Whether this hypervisor's own service has the function in the guest's w1.
4:  mov     w3, #{own_service}
    cmp     w0, w3
    b.ne    call_further
    ldr     w0, [sp, #8 * 1]
    sub     w0, w0, w3
    cmp     w0, #128
    b.hs    call_further
    adr     x2, own_lacks
    lsr     w3, w0, #6
    ldr     x3, [x2, w3, uxtw #3]
    lsl     x0, x3, x0
    asr     x0, x0, #63
    \answered {own_features_note}
.endm

// Counts the call with its note, and goes back. In: x0 = the answer. As Trail::note.
.macro answered_hvc note
    ldr     x1, [sp, #{calls_trail}]
    ldr     x2, [x1, #{trail_count}]
    mov     w3, #\note
    add     x2, x2, #1
    str     x2, [x1, #{trail_count}]
    and     x2, x2, #{trail_mask}
    add     x1, x1, x2, lsl #3
    mrs     x2, cntpct_el0
    orr     x3, x3, x2, lsl #{trail_time}
    str     x3, [x1]
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    eret
.endm

// The same where SMC has left its instruction to be gone past: a single step becomes due, a branch target ends.
.macro answered_smc note
    mrs     x1, elr_el2
    mrs     x2, spsr_el2
    add     x1, x1, #4
    and     x2, x2, #~{pstate_ss}
    and     x2, x2, #~{pstate_btype}
    msr     elr_el2, x1
    msr     spsr_el2, x2
    answered_hvc \note
.endm

    .section .text.vectors, "ax"
    table vectors_v2, {short_sync_v2}, interrupt_from_guest_v2, {short_irq_v2}
    table vectors_v3, {short_sync_v3}, interrupt_from_guest, {short_irq_v3}
    calls vectors_v2
    calls vectors_v3

call_smc:
    answers answered_smc

// Ends the interrupt that the short path put into list register 0, where the hardware does not, if that is all that there
// is maintenance for. The maintenance interrupt is a level: with its cause gone it need not be acknowledged. In: x0 = the
// Guest, w1 = what it was listed as; x0 to x3 are saved.
ended_v2:
    ldr     x3, [sp, #{v2} + 8]     // GICH
    ldr     w2, [x3, #{gich_eisr0}]
    cmp     w2, #1
    b.ne    1f
    ldr     x2, [sp, #{v2}]         // GICC_DIR
    and     w1, w1, #{lr_intid}
    str     wzr, [x3, #{gich_lr0}]
    str     w1, [x2]
    str     wzr, [x0, #{listed}]
    ldr     x0, [sp, #{ended_trail}]
    ldr     x2, [x0, #{trail_count}]
    add     x2, x2, #1
    str     x2, [x0, #{trail_count}]
    and     x2, x2, #{trail_mask}
    add     x0, x0, x2, lsl #3
    mrs     x2, cntpct_el0
    orr     x1, x1, x2, lsl #{trail_time}
    str     x1, [x0]
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x0, x1, [sp, #16 * 0]
    eret
1:  save_volatile_rest
    bl      {short_irq_v2}
    cbz     x0, resume
    mov     x0, #{cause_irq}
    b       leave

// Any other call. In: x0 to x3 are saved.
call_further:
    save_volatile_rest
    mov     x0, sp
    ldr     x1, [sp, #{guest}]
    bl      {short_call}
    cbz     x0, resume
    mov     x0, #{cause_sync}
    b       leave
    .ltorg
    .balign 8
// Bit 63 - n of word m is set unless function 64m + n is there.
own_lacks:
    .quad   {own_lacks_low}, {own_lacks_high}

// Back into the guest after the short path.
resume:
    restore_volatile
    eret

// Leaves the guest for the core's loop: `enter` returns. In: x0 = cause.
leave:
    ldp     x1, x2, [sp, #{volatile_pair}]
    mrs     x3, elr_el2
    mrs     x4, spsr_el2
    stp     x1, x19, [sp, #8 * 18]
    stp     x20, x21, [sp, #8 * 20]
    stp     x22, x23, [sp, #8 * 22]
    stp     x24, x25, [sp, #8 * 24]
    stp     x26, x27, [sp, #8 * 26]
    stp     x28, x29, [sp, #8 * 28]
    stp     x2, x3, [sp, #8 * 30]
    str     x4, [sp, #8 * 32]
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
    ldp     x1, x2, [sp, #8 * 30]   // x30, PC
    ldr     x3, [sp, #8 * 32]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    ldp     x2, x19, [sp, #8 * 18]
    ldp     x20, x21, [sp, #8 * 20]
    ldp     x22, x23, [sp, #8 * 22]
    ldp     x24, x25, [sp, #8 * 24]
    ldp     x26, x27, [sp, #8 * 26]
    ldp     x28, x29, [sp, #8 * 28]
    stp     x2, x1, [sp, #{volatile_pair}]
    b       resume

// Reports an exception of EL2. In: x0 = frame on the core's fault stack, with x1 at the exception in it; x1 = which;
// SP_EL0 = x0 at the exception; any SP. Moves to the fault stack.
fault:
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
    str     x2, [x0]
    mov     x3, sp
    stp     x30, x3, [x0, #16 * 15]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x0, #16 * 16]
    mov     sp, x0
    bl      {el2_fault}
    b       .
