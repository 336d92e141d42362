// The first instructions of the image, and of every secondary core.
// Numbers come from boot.rs.

// Makes EL2 what the code here is written for, whatever firmware left: not a host (HCR_EL2.E2H decides how EL2's own
// registers read), MMU off. Clobbers x9.
.macro plain_el2
    ldr     x9, ={hcr_boot}
    msr     hcr_el2, x9
    isb
    ldr     x9, ={sctlr_off}
    msr     sctlr_el2, x9
    isb
.endm

    .section .head, "ax"

// The arm64 Image header (Linux Documentation/arch/arm64/booting.rst).
    .global _start
_start:
    b       primary
    nop
    .quad   0                       // text_offset: at a multiple of 2 MiB
    .quad   __image_size            // image_size, with .bss
    .quad   {image_flags}
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

// The boot core. In: x0 = device tree, MMU off, any exception level. Does not return.
primary:
    msr     daifset, #0xf
    mov     x20, x0
    mrs     x21, CurrentEL
    lsr     x21, x21, #2
    cmp     x21, #2
    b.ne    1f
    plain_el2
    ldr     x9, ={cptr_boot}
    msr     cptr_el2, x9
    isb
    .arch_extension fp
    .arch_extension simd
    movi    v0.2d, #0
1:  adrp    x9, __bss_start         // both multiples of 4 KiB
    add     x9, x9, :lo12:__bss_start
    adrp    x10, __bss_end
    add     x10, x10, :lo12:__bss_end
    cmp     x21, #2
    b.ne    9f
2:  cmp     x9, x10
    b.hs    3f
    .rept 16
    stp     q0, q0, [x9], #32
    .endr
    b       2b
    .arch_extension nosimd
    .arch_extension nofp
9:  cmp     x9, x10                 // FP may trap at another exception level
    b.hs    3f
    stp     xzr, xzr, [x9], #16
    b       9b
// Absolute addresses in the image are less the base so far. A word of RELR is the address of one of them, or, if odd, says
// by its bits which of the 63 words that follow are too (generic ABI, "Relative Relocation Table").
3:  adrp    x9, __relr_start
    add     x9, x9, :lo12:__relr_start
    adrp    x10, __relr_end
    add     x10, x10, :lo12:__relr_end
    adr     x11, _start
    mov     x17, #1 << 63
4:  cmp     x9, x10
    b.hs    6f
    ldr     x12, [x9], #8
    tbnz    x12, #0, 5f
    add     x13, x12, x11
    ldr     x14, [x13]
    add     x14, x14, x11
    str     x14, [x13], #8
    b       4b
5:  mov     x15, x13
    add     x13, x13, #63 * 8
    lsr     x12, x12, #1
    rbit    x12, x12                // the next word's bit is the highest
    cbz     x12, 4b
7:  clz     x14, x12
    ldr     x16, [x15, x14, lsl #3]
    add     x16, x16, x11
    str     x16, [x15, x14, lsl #3]
    lsr     x16, x17, x14
    bics    x12, x12, x16
    b.ne    7b
    b       4b
6:  adrp    x9, {boot_stack}
    add     x9, x9, :lo12:{boot_stack}
    add     x9, x9, #{boot_stack_size}
    mov     sp, x9
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    mov     x1, x21
    b       {boot_main}

    .text

// A secondary core, from firmware. In: MMU off, EL2; nothing else is relied on. Finds itself by its affinity in the
// start table, takes over the boot core's translation regime and its own stack. Does not return.
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    plain_el2
    mrs     x1, mpidr_el1
    ldr     x2, ={mpidr_mask}
    and     x1, x1, x2
    adrp    x3, {start_table}
    add     x3, x3, :lo12:{start_table}
    ldr     x4, [x3, #{start_count}]
    add     x5, x3, #{start_entries}
    mov     x0, xzr
1:  cbz     x4, 2f
    ldp     x6, x7, [x5], #16       // affinity, stack
    cmp     x6, x1
    b.eq    3f
    add     x0, x0, #1
    sub     x4, x4, #1
    b       1b
2:  wfi                             // not a core of ours
    b       2b
3:  mov     sp, x7
    mov     x19, x0
    ldp     x0, x1, [x3, #{start_regime}]
    ldr     x2, [x3, #{start_regime} + 16]
    bl      enable_mmu
    mov     x0, x19
    mov     x29, xzr
    mov     x30, xzr
    b       {secondary_main}

// Turns EL2's stage 1 on. In: x0 = TTBR0_EL2, x1 = TCR_EL2, x2 = MAIR_EL2. The code is mapped where it runs.
// Clobbers x9.
    .global enable_mmu
enable_mmu:
    msr     ttbr0_el2, x0
    msr     tcr_el2, x1
    msr     mair_el2, x2
    dsb     ish
    tlbi    alle2
    ic      iallu
    dsb     ish
    isb
    ldr     x9, ={sctlr_on}
    msr     sctlr_el2, x9
    isb
    ret

// Leaves the boot stack for a core's own. In: x0 = top of stack, x1 = core, x2 = function of the core. Does not return.
    .global switch_stack
switch_stack:
    mov     sp, x0
    mov     x0, x1
    mov     x29, xzr
    mov     x30, xzr
    br      x2
    .ltorg
