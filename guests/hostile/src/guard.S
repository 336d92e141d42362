// Runs code that may do anything, and comes back: after its return, or after its first exception.
// Invariant: whatever the code did to registers and to its translation, Rust finds them as they were.

.section .text.guard, "ax"

// In: x0 = the code, x1 = x0-x28 for it, x2 = this CPU's context, x3 = its stack's top.
// Out: x0 = 0 after a return, else the vector's number plus one.
.global hostile_run
hostile_run:
        stp     x19, x20, [x2, #{SAVED}]
        stp     x21, x22, [x2, #{SAVED} + 16]
        stp     x23, x24, [x2, #{SAVED} + 32]
        stp     x25, x26, [x2, #{SAVED} + 48]
        stp     x27, x28, [x2, #{SAVED} + 64]
        stp     x29, x30, [x2, #{SAVED} + 80]
        mov     x9, sp
        mrs     x10, vbar_el1
        stp     x9, x10, [x2, #{SAVED} + 96]
        mrs     x9, sctlr_el1
        mrs     x10, ttbr0_el1
        stp     x9, x10, [x2, #{SAVED} + 112]
        mrs     x9, tcr_el1
        mrs     x10, mair_el1
        stp     x9, x10, [x2, #{SAVED} + 128]
        mrs     x9, cpacr_el1
        mrs     x10, tpidr_el1
        stp     x9, x10, [x2, #{SAVED} + 144]
        adrp    x9, hostile_vectors
        add     x9, x9, :lo12:hostile_vectors
        msr     vbar_el1, x9
        isb
        mov     sp, x3
        mov     x29, x0
        mov     x30, x1
        ldp     x0, x1, [x30]
        ldp     x2, x3, [x30, #16]
        ldp     x4, x5, [x30, #32]
        ldp     x6, x7, [x30, #48]
        ldp     x8, x9, [x30, #64]
        ldp     x10, x11, [x30, #80]
        ldp     x12, x13, [x30, #96]
        ldp     x14, x15, [x30, #112]
        ldp     x16, x17, [x30, #128]
        ldp     x18, x19, [x30, #144]
        ldp     x20, x21, [x30, #160]
        ldp     x22, x23, [x30, #176]
        ldp     x24, x25, [x30, #192]
        ldp     x26, x27, [x30, #208]
        ldr     x28, [x30, #224]
        blr     x29
        mov     x17, #0

// In: x17 = what hostile_run is to answer; nothing else is known.
hostile_recover:
        msr     daifset, #{DAIF_ALL}
        msr     spsel, #1
        // Single step and break- and watchpoints off, before anything else.
        msr     mdscr_el1, xzr
        mrs     x9, sctlr_el1
        bic     x9, x9, #{SCTLR_EE}
        msr     sctlr_el1, x9
        isb
        mrs     x16, mpidr_el1
        and     x16, x16, #{AFFINITY}
        adrp    x15, {CONTEXTS}
        add     x15, x15, :lo12:{CONTEXTS}
        mov     x14, #{CONTEXT_SIZE}
        madd    x15, x16, x14, x15
        ldp     x9, x10, [x15, #{SAVED} + 112]
        ldp     x11, x12, [x15, #{SAVED} + 128]
        mrs     x1, sctlr_el1
        mrs     x2, ttbr0_el1
        mrs     x3, tcr_el1
        mrs     x4, mair_el1
        cmp     x1, x9
        ccmp    x2, x10, #0, eq
        ccmp    x3, x11, #0, eq
        ccmp    x4, x12, #0, eq
        b.eq    1f
        msr     mair_el1, x12
        msr     tcr_el1, x11
        msr     ttbr0_el1, x10
        isb
        tlbi    vmalle1
        dsb     sy
        msr     sctlr_el1, x9
        ic      iallu
        dsb     sy
        isb
1:      ldp     x9, x10, [x15, #{SAVED} + 144]
        msr     cpacr_el1, x9
        msr     tpidr_el1, x10
        ldp     x9, x10, [x15, #{SAVED} + 96]
        msr     vbar_el1, x10
        mov     sp, x9
        isb
        ldp     x19, x20, [x15, #{SAVED}]
        ldp     x21, x22, [x15, #{SAVED} + 16]
        ldp     x23, x24, [x15, #{SAVED} + 32]
        ldp     x25, x26, [x15, #{SAVED} + 48]
        ldp     x27, x28, [x15, #{SAVED} + 64]
        ldp     x29, x30, [x15, #{SAVED} + 80]
        mov     x0, x17
        ret

.macro hostile_vector number
.balign 0x80
        mov     x17, #\number + 1
        b       hostile_recover
.endm

// As hostile_vector, but an instruction that EL1 has not, or may not execute, is skipped. Clobbers x16 and x17.
.macro skipping_vector number
.balign 0x80
        mrs     x17, esr_el1
        lsr     x17, x17, #{EC_SHIFT}
        cmp     x17, #{EC_FIRST_ABORT}
        b.hs    1f
        mrs     x17, elr_el1
        add     x17, x17, #4
        msr     elr_el1, x17
        eret
1:      mov     x17, #\number + 1
        b       hostile_recover
.endm

// For code that is nothing but instructions to be tried one after another.
.balign 0x800
.global hostile_skipping_vectors
hostile_skipping_vectors:
        skipping_vector 0
        hostile_vector 1
        hostile_vector 2
        hostile_vector 3
        skipping_vector 4
        hostile_vector 5
        hostile_vector 6
        hostile_vector 7
        hostile_vector 8
        hostile_vector 9
        hostile_vector 10
        hostile_vector 11
        hostile_vector 12
        hostile_vector 13
        hostile_vector 14
        hostile_vector 15

.balign 0x800
hostile_vectors:
        hostile_vector 0
        hostile_vector 1
        hostile_vector 2
        hostile_vector 3
        hostile_vector 4
        hostile_vector 5
        hostile_vector 6
        hostile_vector 7
        hostile_vector 8
        hostile_vector 9
        hostile_vector 10
        hostile_vector 11
        hostile_vector 12
        hostile_vector 13
        hostile_vector 14
        hostile_vector 15

// Where a CPU started by chance goes: it switches itself off.
.global hostile_stray
hostile_stray:
        mov     w0, #{CPU_OFF_LOW}
        movk    w0, #{CPU_OFF_HIGH}, lsl #16
        hvc     #0
        b       hostile_stray
