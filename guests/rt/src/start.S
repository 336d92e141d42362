// Start-up of a guest. Invariant: before the MMU is on, nothing is written through a dirty cache
// line and nothing but this file and start.rs's `rt_translation` runs.

// ---------------------------------------------------------------------------------------------
// The arm64 Image header, then the entry of the boot CPU.
// In: x0 = device tree, EL1, MMU off. Never returns.
.section .head, "ax"
.global _start
_start:
        b       rt_primary
        .long   0
        .quad   {TEXT_OFFSET}
        .quad   __image_end - . + {SIZE_FIELD}
        .quad   {IMAGE_FLAGS}
        .quad   0
        .quad   0
        .quad   0
        .long   {IMAGE_MAGIC}
        .long   0

// Keeps the state at entry in x19-x29: x0-x3, CurrentEL, DAIF, SCTLR, SPSel, MPIDR, CNTVCT, and what x4-x30 have set.
.macro keep_entry
        .irp    n, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 30
        orr     x29, x29, x\n
        .endr
        mrs     x28, cntvct_el0
        mov     x19, x0
        mov     x20, x1
        mov     x21, x2
        mov     x22, x3
        mrs     x23, CurrentEL
        mrs     x24, daif
        mrs     x25, sctlr_el1
        mrs     x26, spsel
        mrs     x27, mpidr_el1
        msr     daifset, #{DAIF_ALL}
        msr     spsel, #1
.endm

// Stores what keep_entry kept into the EntryState at x0. Clobbers nothing.
.macro store_entry
        stp     x19, x20, [x0, #{ENTRY_X0}]
        stp     x21, x22, [x0, #{ENTRY_X0} + 16]
        stp     x23, x24, [x0, #{ENTRY_EL}]
        stp     x25, x26, [x0, #{ENTRY_SCTLR}]
        stp     x27, x28, [x0, #{ENTRY_MPIDR}]
        str     x29, [x0, #{ENTRY_REST}]
.endm

.section .text.start, "ax"
rt_primary:
        keep_entry
        // Write back and drop every line of what is about to be written past the caches.
        adrp    x0, __data_start
        adrp    x1, __image_end
        mrs     x2, ctr_el0
        ubfx    x2, x2, #{DMINLINE_SHIFT}, #{DMINLINE_BITS}
        mov     x3, #4
        lsl     x3, x3, x2
1:      dc      civac, x0
        add     x0, x0, x3
        cmp     x0, x1
        b.lo    1b
        dsb     sy
        // Zero what the file does not carry.
        adrp    x0, __bss_start
        adrp    x1, __bss_end
2:      stp     xzr, xzr, [x0], #16
        cmp     x0, x1
        b.lo    2b
        // Relocate: every entry is R_AARCH64_RELATIVE (offset, info, addend).
        adrp    x0, __rela_start
        add     x0, x0, :lo12:__rela_start
        adrp    x1, __rela_end
        add     x1, x1, :lo12:__rela_end
        adrp    x2, __image_start
3:      cmp     x0, x1
        b.hs    4f
        ldp     x3, x4, [x0], #16
        ldr     x5, [x0], #8
        cmp     x4, #{RELATIVE}
        b.ne    3b
        add     x5, x5, x2
        str     x5, [x2, x3]
        b       3b
4:      adrp    x0, {STACKS}
        add     x0, x0, :lo12:{STACKS}
        add     sp, x0, #{STACK_SIZE}
        adrp    x0, __image_start
        bl      {TRANSLATION}
        bl      rt_mmu_on
        bl      {ENTRY}
        store_entry
        mov     x0, x19
        b       {PRIMARY}

// Entry of a CPU started by CPU_ON.
// In: x0 = its SecondaryStart, cleaned to memory. Never returns.
.global rt_secondary
rt_secondary:
        keep_entry
        ldr     x1, [x0, #{START_STACK}]
        mov     sp, x1
        ldr     x0, [x0, #{START_TRANSLATION}]
        bl      rt_mmu_on
        add     x0, x19, #{START_ENTRY}
        store_entry
        mov     x0, x19
        b       {SECONDARY}

// Switches the MMU and the caches on.
// In: x0 = Translation. Clobbers x1-x3.
.global rt_mmu_on
rt_mmu_on:
        ldp     x1, x2, [x0, #{TRANSLATION_TTBR0}]
        msr     ttbr0_el1, x1
        msr     mair_el1, x2
        ldp     x1, x2, [x0, #{TRANSLATION_TCR}]
        msr     tcr_el1, x1
        tlbi    vmalle1
        ic      iallu
        dsb     nsh
        isb
        msr     sctlr_el1, x2
        isb
        ret

// Calls a function with the MMU and the data cache off.
// In: x0 = fn(u64), x1 = its argument, x2 = SCTLR_EL1 to use meanwhile. The caller has cleaned
// the stack and the data the function uses. Clobbers what a call clobbers.
.global rt_call_with_mmu_off
rt_call_with_mmu_off:
        stp     x29, x30, [sp, #-32]!
        stp     x19, x20, [sp, #16]
        mrs     x19, sctlr_el1
        mov     x20, x2
        mov     x3, x0
        mov     x0, x1
        // The saved pairs above are read again with the caches on, so they may stay in them.
        dsb     sy
        msr     sctlr_el1, x20
        isb
        blr     x3
        dsb     sy
        msr     sctlr_el1, x19
        isb
        ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #32
        ret

// Suspends this CPU by CPU_SUSPEND or SYSTEM_SUSPEND through HVC, returning here either way.
// In: x0 = Suspend on the caller's stack: the call's x0-x3 and the translation.
// Out: x0 = the call's code, or 1 when the CPU was powered down and came back by its entry.
.global rt_suspend
rt_suspend:
        stp     x29, x30, [sp, #-112]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        mrs     x1, tpidr_el1
        mrs     x2, vbar_el1
        stp     x1, x2, [sp, #96]
        mov     x1, sp
        str     x1, [x0, #{SUSPEND_SP}]
        dc      civac, x0
        add     x1, x0, #{SUSPEND_SP}
        dc      civac, x1
        dsb     sy
        mov     x4, x0
        ldp     x0, x1, [x4]
        ldp     x2, x3, [x4, #16]
        hvc     #0
        b       5f
// The entry after power-down. In: x0 = Suspend.
rt_resume:
        mrs     x20, sctlr_el1
        mrs     x21, CurrentEL
        mov     x19, x0
        msr     daifset, #{DAIF_ALL}
        msr     spsel, #1
        ldr     x0, [x19, #{SUSPEND_TRANSLATION}]
        bl      rt_mmu_on
        ldr     x0, [x19, #{SUSPEND_SP}]
        mov     sp, x0
        stp     x20, x21, [x19, #{SUSPEND_SCTLR}]
        mov     x0, #1
        ldp     x1, x2, [sp, #96]
        msr     tpidr_el1, x1
        msr     vbar_el1, x2
        isb
5:      ldp     x27, x28, [sp, #80]
        ldp     x25, x26, [sp, #64]
        ldp     x23, x24, [sp, #48]
        ldp     x21, x22, [sp, #32]
        ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #112
        ret
.global rt_resume
